"""What a run packages, and what a package must prove, on runs made by hand."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import openvino as ov
import pandas as pd
import pytest
from run_folders import NUM_SAMPLES, classifier, write_candidate, write_run

from qnas_ov import cli
from qnas_ov.core.errors import ConstraintError, InputError, PackageError, QnasError, RunFolderError
from qnas_ov.core.fingerprint import digest_file
from qnas_ov.deploy import FORMATS, InputSettings, read_manifest, read_samples, write_package
from qnas_ov.pipeline import load_result, run_package, select_candidate, verify_package
from qnas_ov.pipeline._samples import MAX_SAMPLES, SampleRecorder
from qnas_ov.tasks import AGREEMENT, FIDELITY, TOP1, Metric, Split


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run")


# --- selection -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("select", "max_drop", "expected"),
    [
        ("fastest", None, "c1"),
        ("smallest", None, "c2"),
        ("most-accurate", None, "c4"),
        ("knee", None, "c2"),
        ("c3", None, "c3"),
        ("fastest", 0.05, "c2"),
        ("fastest", 0.04, "c3"),
        ("smallest", 0.04, "c3"),
        ("knee", 0.0, "c4"),
        ("c3", 0.05, "c3"),
    ],
)
def test_rules_judge_validation_data(run: Path, select: str, max_drop: float | None, expected: str) -> None:
    assert load_result(run).select(select, max_drop=max_drop) == expected


def front(*rows: tuple[str, float, float]) -> pd.DataFrame:
    return pd.DataFrame([{"candidate": n, "m": a, "latency_ms": t, "size_bytes": 1.0} for n, a, t in rows])


@pytest.mark.parametrize(
    ("rows", "rule", "expected"),
    [
        ([("a", 0.9, 2.0), ("b", 0.8, 1.0)], "knee", "b"),
        ([("a", 0.9, 2.0)], "knee", "a"),
        ([("a", 0.5, 1.0), ("b", 0.55, 2.0), ("c", 0.9, 3.0)], "knee", "a"),
        ([("a", 0.5, 1.0), ("b", 0.9, 1.0)], "fastest", "b"),
        ([("a", 0.5, 1.0), ("b", 0.9, 1.0)], "knee", "b"),
        ([("a", 0.9, 3.0), ("b", 0.9, 2.0)], "most-accurate", "b"),
        ([("b", 0.9, 2.0), ("a", 0.9, 2.0)], "most-accurate", "a"),
        ([("a", 0.5, 2.0), ("b", 0.9, 3.0)], "smallest", "b"),
    ],
)
def test_rules_at_their_edges(rows: list[tuple[str, float, float]], rule: str, expected: str) -> None:
    assert select_candidate(front(*rows), pd.DataFrame(), metric="m", select=rule) == expected


def test_what_does_not_fit_is_said(run: Path) -> None:
    result = load_result(run)
    with pytest.raises(QnasError, match="unknown candidate 'fastst': choose one of .*did you mean 'fastest'"):
        result.select("fastst")
    with pytest.raises(ConstraintError, match=r"no candidate meets --max-drop 0.01 .*best of 1 has 0.9 on validation"):
        result.select("c2", max_drop=0.01)
    for wrong in (-0.1, float("nan"), float("inf")):
        with pytest.raises(InputError, match="--max-drop must be a number from 0 on"):
            result.select("fastest", max_drop=wrong)


# --- packaging -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", [f for f in FORMATS if f != "optimum"])
@pytest.mark.parametrize("static", [False, True])
def test_a_package_is_made_and_verified(run: Path, format: str, static: bool) -> None:
    made = run_package(run, select="smallest", format=format, inputs=InputSettings(batch=1 if static else None))
    assert made.candidate == "c2"
    assert made.folder == run / "packages" / f"c2-{format}{'-static' if static else ''}"
    assert made.batch == (1 if static else "dynamic")
    found = verify_package(made.folder)
    assert found.manifest_sha256 == made.manifest_sha256
    assert found.repeated is not None
    assert found.repeated.value == found.repeated.recorded == 0.75
    assert (found.repeated.changed_top1, found.repeated.num_samples) == (0, NUM_SAMPLES)


def test_the_python_call_packages_ids_as_before_and_rules_in_formats(run: Path, tmp_path: Path) -> None:
    result = load_result(run)
    copied = result.package("c1", tmp_path / "copy")
    assert {p.name: p.read_bytes() for p in copied.iterdir()} == {
        p.name: p.read_bytes() for p in (run / "deploy" / "c1").iterdir()
    }
    packaged = result.package("fastest", str(tmp_path / "served"), format="ovms", name="net")
    assert (packaged / "net" / "1" / "model.xml").exists()
    with pytest.raises(InputError, match="are for a format"):
        result.package("c1", tmp_path / "other", inputs=InputSettings(batch=1))


def test_an_unfinished_run_is_refused(run: Path) -> None:
    (run / "pareto.csv").unlink()
    with pytest.raises(RunFolderError, match="is no finished run: it holds no pareto.csv; continue it with --resume"):
        run_package(run, select="fastest", format="ir")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("pareto.csv", "", "No columns"),
        ("pareto.csv", "candidate,accuracy_top1\nc1,0.5\n", "pareto.csv has no column 'latency_ms'"),
        ("baselines.csv", "baseline\nfloat-f32\n", "baselines.csv has no column 'accuracy_top1'"),
        ("space.json", "{}", "it lacks 'metric'"),
        ("space.json", "[]", "list indices"),
        ("predictors.json", "{", "Expecting property name"),
    ],
)
def test_a_damaged_run_is_refused(run: Path, name: str, content: str, reason: str) -> None:
    (run / name).write_text(content)
    with pytest.raises(RunFolderError, match=f"a file of the run '.*' is damaged .*{reason}"):
        run_package(run, select="fastest", format="ir")
    assert not (run / "packages").exists()


# --- verification ----------------------------------------------------------------------------------------------------


def package(run: Path, format: str = "ovms") -> Path:
    return run_package(run, select="c1", format=format, name="net").folder


@pytest.mark.parametrize("name", ["net/1/model.bin", "net/1/model.xml", "config.json", "labels.txt", "samples.npz"])
def test_a_changed_file_is_named(run: Path, name: str) -> None:
    folder = package(run)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(PackageError, match=f"'{name}' in .* does not have the SHA-256"):
        verify_package(folder)


def test_missing_and_foreign_files_are_named(run: Path) -> None:
    folder = package(run)
    (folder / "net" / "1" / "extra.xml").write_text("")
    with pytest.raises(PackageError, match=r"'net/1/extra\.xml' in .* is not in its manifest"):
        verify_package(folder)
    (folder / "net" / "1" / "extra.xml").unlink()
    (folder / "net" / "1" / "model.bin").unlink()
    with pytest.raises(PackageError, match=r"'net/1/model\.bin' of the package .* is missing"):
        verify_package(folder)


def rewrite_manifest(folder: Path, **changes: Any) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest = {k: v for k, v in {**manifest, **changes}.items() if v is not None}
    manifest["files"] = {name: digest_file(folder / name) for name in manifest["files"]}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_other_weights_with_right_digests_do_not_repeat_the_accuracy(run: Path) -> None:
    folder = package(run)
    ov.save_model(classifier(99), folder / "other.xml", compress_to_fp16=False)
    shutil.move(folder / "other.bin", folder / "net" / "1" / "model.bin")
    (folder / "other.xml").unlink()
    rewrite_manifest(folder)
    with pytest.raises(PackageError, match="does not repeat its accuracy: accuracy_top1 on 24 recorded samples is"):
        verify_package(folder)


@pytest.mark.parametrize(("recorded", "holds"), [(0.75 + 1 / 24, True), (0.75 - 1 / 24, True), (0.75 + 2 / 24, False)])
def test_one_sample_may_differ_between_machines(run: Path, recorded: float, holds: bool) -> None:
    folder = package(run)
    record = read_manifest(folder)["samples"] | {"value": recorded}
    rewrite_manifest(folder, samples=record)
    if holds:
        assert verify_package(folder).repeated is not None
    else:
        with pytest.raises(PackageError, match="1 of them may differ between machines"):
            verify_package(folder)


def test_a_package_without_samples_is_only_loaded(run: Path) -> None:
    made = run_package(run, select="c1", format="ir", inputs=InputSettings(samples=False))
    assert verify_package(made.folder).repeated is None


def test_what_cannot_be_verified_is_said(run: Path) -> None:
    folder = package(run, "ir")
    for changes, message in (
        ({"minimum_openvino": "2099.1"}, "needs OpenVINO 2099.1 or newer, here is 20"),
        (
            {"minimum_openvino": "2020.1", "inference_precision": None},
            r"does not give what it must \('inference_precision'\)",
        ),
        ({"inference_precision": "f32", "layout": {"model": "../model.xml"}}, "must be the network of the package"),
        ({"layout": {"model": "model.xml"}, "machine": {"device": "TPU"}}, "device 'TPU' is not available"),
        ({"machine": {"device": "CPU"}, "samples": 3}, "the manifest of .* is damaged"),
        ({"samples": {"file": "samples.npz", "metric": "accuracy_top1", "value": "x"}}, "is damaged, .*float: 'x'"),
        ({"samples": {"file": "../x", "metric": "accuracy_top1", "value": 1}}, "'../x' is no file of the package"),
        ({"format": 99}, "has format 99, this version reads 1"),
    ):
        rewrite_manifest(folder, **changes)
        with pytest.raises(QnasError, match=message):
            verify_package(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(PackageError, match="is damaged"):
        verify_package(folder)


def test_a_network_that_does_not_load_is_said(run: Path) -> None:
    folder = package(run, "ir")
    (folder / "model.xml").write_text("<net/>")
    rewrite_manifest(folder)
    with pytest.raises(PackageError, match="OpenVINO cannot read"):
        verify_package(folder)


# --- recording -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FakeTask:
    """The part of a task that recording needs."""

    metric: Metric
    test: Split


def recorder(metric: Metric, count: int, tmp_path: Path) -> tuple[SampleRecorder, Any, Split]:
    """A recorder over a real network, and the finalist that is this network."""
    rng = np.random.default_rng(0)
    split = Split({"x": rng.normal(size=(count, 8)).astype(np.float32)}, np.arange(count) % 4)
    ov.save_model(classifier(), tmp_path / "m.xml", compress_to_fp16=False)
    setup = SimpleNamespace(task=FakeTask(metric, split), recipe=SimpleNamespace(device="CPU"))
    bank = SimpleNamespace(source=classifier())
    network = SimpleNamespace(bank=bank, source=SimpleNamespace(batch_size=64))
    return (
        SampleRecorder(setup, network),  # type: ignore[arg-type]
        SimpleNamespace(path=tmp_path / "m.xml", inference_precision="f32"),
        split,
    )


@pytest.mark.parametrize(("metric", "count"), [(TOP1, 200), (AGREEMENT, 30), (FIDELITY, 30)])
def test_a_recorded_candidate_verifies(metric: Metric, count: int, tmp_path: Path) -> None:
    made, finalist, split = recorder(metric, count, tmp_path)
    samples, record = made.record(finalist)
    assert len(samples) == record["count"] == min(MAX_SAMPLES, count)
    assert record["metric"] == metric.column
    if metric is TOP1:
        assert record["value"] == np.mean(samples.outputs.argmax(1) == samples.target)
        assert samples.target[-1] == split.labels[-1]
    else:
        assert record["value"] == 1.0
    folder = write_candidate(tmp_path / "c1", with_samples=False)
    manifest = {k: v for k, v in read_manifest(folder).items() if k != "files"} | {"samples": record}
    write_package(
        tmp_path / "p", model=tmp_path / "m.xml", config=None, preprocessor=None, manifest=manifest,
        samples=samples.to_arrays(),
    )  # fmt: skip
    found = verify_package(tmp_path / "p").repeated
    assert found is not None
    assert found.value == record["value"]
    assert (found.changed_top1 is None) == (metric is FIDELITY)


def test_large_samples_are_fewer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qnas_ov.pipeline._samples.MAX_BYTES", 10 * 8 * 4)
    made, finalist, _ = recorder(TOP1, 30, tmp_path)
    assert len(made.record(finalist)[0]) == 10


# --- command line ----------------------------------------------------------------------------------------------------


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["qnas-ov", *arguments])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_the_commands_package_and_verify(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "p"
    options = ["--select", "fastest", "--format", "triton", "--static", "--name", "net", "--out", str(out)]
    assert call(monkeypatch, "package", str(run), *options) == 0
    text = capsys.readouterr().out
    assert "c1: test 0.7500, 1.000 ms, 0.00 MB, as measured under f32" in text
    assert "model 'net', batch 1" in text
    assert "note: the Triton backend has a parameter for bf16 and none for f32" in text
    assert call(monkeypatch, "verify", str(out)) == 0
    text = capsys.readouterr().out
    assert "accuracy_top1 on 24 recorded samples: 0.7500, recorded 0.7500; 0 get another class" in text
    assert call(monkeypatch, "verify", str(out), "--json") == 0
    assert json.loads(capsys.readouterr().out)["repeated"]["value"] == 0.75
    assert call(monkeypatch, "package", str(run), "--select", "most-accurate", "--format", "ovms", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["candidate"] == "c4"
    assert document["inference_precision"] == "bf16"
    assert call(monkeypatch, "package", str(run), *options) == 2
    assert "must not exist yet" in capsys.readouterr().err
    (out / "net" / "labels.txt").write_text("")
    assert call(monkeypatch, "verify", str(out)) == 2
    assert "Error: 'net/labels.txt' in " in capsys.readouterr().err


def test_recorded_outputs_are_those_of_the_package(run: Path) -> None:
    folder = package(run, "ir")
    samples = read_samples(folder / "samples.npz")
    compiled = ov.Core().compile_model(folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_allclose(compiled(samples.inputs["x"])[0], samples.outputs, rtol=1e-5)
