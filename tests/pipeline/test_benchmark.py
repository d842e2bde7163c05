"""`qnas-ov benchmark` with the real benchmark_app on tiny networks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import openvino as ov
import pandas as pd
import pytest
from click.testing import CliRunner
from openvino import opset13 as ops
from pages import Page
from run_folders import classifier

from qnas_ov.cli import cli
from qnas_ov.core.errors import InputError, QnasError
from qnas_ov.measure import RoundPlan
from qnas_ov.measure import benchmark_app as benchmark_app_module
from qnas_ov.pipeline import Benchmark, check_request, run_benchmark
from qnas_ov.pipeline import _benchmark as benchmark_pipeline
from qnas_ov.pipeline._benchmark_cases import find_networks, make_cases

ONCE = RoundPlan(minimum=1)
CONDITIONS = {"others", "stolen", "throttled_ms", "thermal_events", "mhz", "load_1min"}


def save(model: ov.Model, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    ov.save_model(model, path, compress_to_fp16=False)
    return path


def stubborn() -> ov.Model:
    """A network that takes one sample at a time, whatever its input says."""
    x = ops.parameter([-1, 8], np.float32, name="x")
    x.output(0).set_names({"x"})
    return ov.Model([ops.reshape(x, np.array([1, 2, 4]), False)], [x], "stubborn")


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("networks")
    # Wide enough for every network's kernels to take some of the whole microseconds that counters count in.
    return [save(classifier(seed, width=8192), folder / f"{name}.xml") for seed, name in enumerate(("one", "two"))]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("database") / "latency.sqlite"


@pytest.fixture(scope="module")
def finished(networks: list[Path], database: Path, tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    return run_benchmark(
        networks,
        check_request(device="CPU", batches=(1, 4), precisions=("f32",)),
        out=tmp_path_factory.mktemp("out") / "benchmark",
        plan=RoundPlan(minimum=2),
        seconds=0.02,
        reference="two",
        latency_db=str(database),
    )


def test_every_figure_is_there(finished: Benchmark) -> None:
    assert [(r["network"], r["batch"]) for r in finished.rows] == [("one", 1), ("one", 4), ("two", 1), ("two", 4)]
    for row in finished.rows:
        assert row["status"] == "ok"
        latency = row["latency_ms"]
        assert 0 < latency["low"] <= latency["value"] <= latency["high"]
        assert (latency["count"], len(row["runs"])) == (2, 2)
        assert all(set(r["conditions"]) == CONDITIONS for r in row["runs"])
        assert row["minimum_ms"] <= latency["value"] * 2
        assert row["percentiles_ms"]["90"] > 0
        assert row["throughput_per_s"]["value"] > 0
        assert row["compile_ms"] > 0
        assert row["memory_bytes"] > 1e6
        assert sum(row["profile"]["shares"].values()) == pytest.approx(1.0)
        assert 1 <= len(row["profile"]["costliest"]) <= 10
        assert "billion multiply-accumulates per second" in row["remark"]
    speedups = {(r["network"], r["batch"]): r["speedup"] for r in finished.rows}
    assert speedups["two", 1] == speedups["two", 4] == 1.0
    latencies = {(r["network"], r["batch"]): r["latency_ms"]["value"] for r in finished.rows}
    assert speedups["one", 4] == pytest.approx(latencies["two", 4] / latencies["one", 4])


def test_the_files_say_the_same(finished: Benchmark) -> None:
    assert json.loads((finished.folder / "benchmark.json").read_text()) == finished.document
    table = pd.read_csv(finished.folder / "benchmark.csv")
    assert table["latency_ms"].tolist() == [r["latency_ms"]["value"] for r in finished.rows]
    operations = pd.read_csv(finished.folder / "operations.csv")
    assert set(operations["network"]) == {"one", "two"}
    assert operations["precision"].isin(["f32", "bf16", "int8"]).any()
    page = Page(finished.folder / "benchmark.html")
    assert "Where the time goes" in page.words
    assert "At least 2 processes per network" in page.words
    assert {a["data-figure"] for a in page.of("div") if "data-figure" in a} == {"latency", "shares"}
    assert {a["download"] for a in page.of("a") if a.get("download")} == {"benchmark.csv", "operations.csv"}


def test_equal_graphs_are_not_measured_again(
    finished: Benchmark, networks: list[Path], database: Path, tmp_path: Path
) -> None:
    """The same network under another name, in another run, beside the same reference."""
    copy = tmp_path / "copy.xml"
    copy.write_text(networks[0].read_text())
    copy.with_suffix(".bin").write_bytes(networks[0].with_suffix(".bin").read_bytes())
    again = run_benchmark(
        [copy, networks[1]],
        check_request(device="CPU", precisions=("f32",)),
        out=tmp_path / "again",
        plan=RoundPlan(minimum=2),
        seconds=0.02,
        reference="two",
        latency_db=str(database),
    )
    first = {r["network"]: r for r in finished.rows if r["batch"] == 1}
    assert [r["from_database"] for r in again.rows] == [2, 2]
    for row, earlier in zip(again.rows, (first["one"], first["two"]), strict=True):
        assert [r["run"] for r in row["runs"]] == [r["run"] for r in earlier["runs"]]


def test_throughput_is_judged_by_throughput(networks: list[Path], tmp_path: Path) -> None:
    found = run_benchmark(
        networks[:1],
        check_request(device="CPU", hints=("throughput",), precisions=("f32",), threads=1, streams=1),
        out=tmp_path / "out", plan=ONCE, seconds=0.02, percentiles=(), profile=False, latency_db="none",
    )  # fmt: skip
    (row,) = found.rows
    assert (row["streams"], row["threads"], row["profile"]) == (1, 1, None)
    assert all(set(r["conditions"]) == CONDITIONS for r in row["runs"]), "without a database too"
    assert "Most samples per second" in Page(found.folder / "benchmark.html").words


def test_what_fails_is_a_record_with_a_reason(networks: list[Path], tmp_path: Path) -> None:
    bad = save(stubborn(), tmp_path / "stubborn.xml")
    damaged = save(classifier(2), tmp_path / "damaged.xml")
    damaged.write_text(damaged.read_text()[:-200])
    found = run_benchmark(
        [bad, networks[0], damaged],
        check_request(device="CPU", batches=(4,), precisions=("f32",)),
        out=tmp_path / "out", plan=ONCE, seconds=0.02, percentiles=(), profile=False, latency_db="none",
    )  # fmt: skip
    assert [r["status"] for r in found.rows] == ["failed", "ok", "failed"]
    assert "does not take a batch of 4" in found.rows[0]["reason"]
    assert "latency_ms" not in found.rows[0]
    assert found.rows[1]["speedup"] is None, "the reference was not measured"
    assert found.table()["latency_ms"].isna().tolist() == [True, False, True]
    assert "does not take a batch of 4" in Page(found.folder / "benchmark.html").words


def test_a_crash_of_the_tool_is_told_with_its_last_lines(
    networks: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = tmp_path / "child.py"
    child.write_text("import os; print('[ ERROR ] Device CPU is busy', flush=True); os.abort()")
    monkeypatch.setattr(benchmark_app_module, "_CHILD", child)
    options = ["--no-profile", "--latency-db", "none", "--inference-precision", "f32", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(cli, ["benchmark", *map(str, networks), *options])
    assert done.exit_code == 1
    assert "no network could be measured" in done.output
    rows = json.loads((tmp_path / "out" / "benchmark.json").read_text())["results"]
    assert [r["status"] for r in rows] == ["failed", "failed"]
    assert all("signal 6 (SIGABRT)" in r["reason"] and "Device CPU is busy" in r["reason"] for r in rows)


def test_the_command_prints_a_table_and_json(networks: list[Path], tmp_path: Path) -> None:
    options = ["--processes", "1", "--seconds", "0.02", "--percentile", "99", "--inference-precision", "f32",
               "--latency-db", "none", "--no-profile", "--out"]  # fmt: skip
    printed = CliRunner().invoke(cli, ["benchmark", str(networks[0]), *options, str(tmp_path / "a")])
    assert printed.exit_code == 0, printed.output
    assert "p99" in printed.stdout
    assert "vs one" in printed.stdout
    document = CliRunner().invoke(cli, ["benchmark", str(networks[0]), *options, str(tmp_path / "b"), "--json"])
    assert json.loads(document.stdout)["results"][0]["percentiles_ms"]["99"] > 0


def test_a_percentile_that_takes_too_long_is_left_out_and_the_rest_stays(
    networks: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark_pipeline, "_PERCENTILE_MS", 1e-3)
    options = ["--processes", "1", "--seconds", "0.02", "--percentile", "50,99", "--inference-precision", "f32",
               "--latency-db", "none", "--no-profile", "--out", str(tmp_path / "out")]  # fmt: skip
    done = CliRunner().invoke(cli, ["benchmark", str(networks[0]), *options])
    assert done.exit_code == 0, done.output
    assert "percentile 99 is left out: it needs 1000 inferences, which would take" in done.output
    (row,) = json.loads((tmp_path / "out" / "benchmark.json").read_text())["results"]
    assert (row["status"], list(row["percentiles_ms"])) == ("ok", ["50"])
    assert list(row["percentiles_left_out"]) == ["99"]
    assert "percentile 99 is left out" in Page(tmp_path / "out" / "benchmark.html").words


def test_a_device_without_percentiles_has_the_other_figures(networks: list[Path], tmp_path: Path) -> None:
    """The command asks for one percentile unless told otherwise."""
    options = ["--device", "MULTI:CPU", "--inference-precision", "f32", "--processes", "1", "--seconds", "0.02",
               "--latency-db", "none", "--no-profile", "--out", str(tmp_path / "out")]  # fmt: skip
    done = CliRunner().invoke(cli, ["benchmark", str(networks[0]), *options])
    assert done.exit_code == 0, done.output
    (row,) = json.loads((tmp_path / "out" / "benchmark.json").read_text())["results"]
    assert row["latency_ms"]["value"] > 0
    reason = "no percentile is reported for MULTI:CPU"
    assert reason in row["percentiles_left_out"]["90"]
    assert reason in Page(tmp_path / "out" / "benchmark.html").words
    assert reason in done.stdout
    table = pd.read_csv(tmp_path / "out" / "benchmark.csv")
    assert table["latency_ms"].notna().all()
    assert table["latency_p90_ms"].isna().all()
    assert table["percentiles_left_out"].str.contains(reason).all()


def run_folder(folder: Path) -> Path:
    """What `find_networks` reads of a finished run: two candidates and the unsearched network."""
    for name in ("float", "int8"):
        save(classifier(), folder / "baselines" / f"{name}.xml")
    for seed, (name, precision) in enumerate((("c003", "f32"), ("c010", "f32"))):
        save(classifier(seed), folder / "deploy" / name / "openvino_model.xml")
        manifest = {"format": 1, "inference_precision": precision}
        (folder / "deploy" / name / "manifest.json").write_text(json.dumps(manifest))
    (folder / "machine.json").write_text(json.dumps({"inference_precisions": ["f32"]}))
    (folder / "recipe.yaml").write_text("model: tiny\n")
    (folder / "pareto.csv").write_text("candidate\nc003\nc010\n")
    return folder


def test_networks_of_a_run_keep_their_own_precision(tmp_path: Path) -> None:
    networks = find_networks([run_folder(tmp_path / "run")])
    assert [n.name for n in networks] == ["int8-f32", "float-f32", "c003", "c010"]
    assert {n.precision for n in networks} == {"f32"}
    cases = {c.network.name: c for c in make_cases(networks, check_request(device="CPU", precisions=("f32", "f32")))}
    assert len(cases) == len(networks)
    assert cases["c010"].settings.inference_precision == "f32"
    assert cases["c010"].macs == 8 * 16 + 16 * 4
    both = find_networks([tmp_path / "run", save(classifier(5), tmp_path / "other.xml")])
    assert [n.name for n in both] == ["run:int8-f32", "run:float-f32", "run:c003", "run:c010", "other"]
    (tmp_path / "run" / "pareto.csv").unlink()
    with pytest.raises(InputError, match="is not finished: continue it with `qnas-ov search --resume"):
        find_networks([tmp_path / "run"])


def test_the_unsearched_network_on_the_front_is_measured_once_by_its_own_name(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run")
    save(classifier(), folder / "deploy" / "int8-f32" / "openvino_model.xml")
    assert [n.name for n in find_networks([folder])] == ["int8-f32", "float-f32", "c003", "c010"]


def test_networks_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = [save(classifier(i), tmp_path / name / "model.xml") for i, name in enumerate("ab")]
    assert [n.name for n in find_networks(paths)] == ["a/model", "b/model"]
    assert len({n.name for n in find_networks([*paths, save(classifier(3), tmp_path / "c" / "a" / "model.xml")])}) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no.xml"], "'no.xml' does not exist"),
        ([__file__], "is no IR: it must be an .xml"),
        (["ONE", "ONE"], "is given 2 times"),
        (["ONE", "--device", "GPU.7"], "device 'GPU.7' is not available: this machine has CPU"),
        (["ONE", "--inference-precision", "int4"], "inference precision 'int4' is not computed in hardware"),
        (["ONE", "--hint", "speed"], "unknown performance hint 'speed'"),
        (["ONE", "--reference", "two"], "--reference must be one of one: got 'two'"),
        (["ONE", "--percentile", "101"], "--percentile must be 1 to 100: got 101"),
        (["ONE", "--batch", "0"], "--batch must be at least 1"),
    ],
)  # fmt: skip
def test_wrong_input_is_refused_before_anything_is_written(
    arguments: list[str], message: str, networks: list[Path], tmp_path: Path
) -> None:
    given = [str(networks[0]) if a == "ONE" else a for a in arguments]
    done = CliRunner().invoke(cli, ["benchmark", *given, "--out", str(tmp_path / "out")])
    assert isinstance(done.exception, QnasError)
    assert message in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_open_axes_need_lengths(tmp_path: Path) -> None:
    x = ops.parameter([-1, -1], np.float32, name="ids")
    x.output(0).set_names({"ids"})
    path = save(ov.Model([ops.relu(x)], [x]), tmp_path / "open.xml")
    with pytest.raises(InputError, match=r"give all lengths, for instance --shape 'ids\[1,128\]'"):
        make_cases(find_networks([path]), check_request(device="CPU"))
    (case,) = make_cases(find_networks([path]), check_request(device="CPU", shape="ids[1,16]", batches=(2,)))
    assert case.settings.shapes == {"ids": [2, 16]}
