"""A whole search, for real, on a tiny network; what it leaves behind; what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pandas as pd
import pytest
from pipeline.conftest import QUICK, SMALL

import qnas_ov
from qnas_ov.core.errors import ConstraintError, InputError, MeasurementError, QnasError, RunFolderError
from qnas_ov.core.fingerprint import digest_file
from qnas_ov.core.progress import Silent
from qnas_ov.journal import Journal
from qnas_ov.pareto import is_nondominated
from qnas_ov.pipeline import SearchResult, load_result, run_search
from qnas_ov.pipeline import _evaluate as evaluate_module
from qnas_ov.tasks import Task

FILES = {
    "recipe.yaml", "space.json", "machine.json", "evaluations.sqlite", "evaluations.csv", "baselines.csv",
    "pareto.csv", "predictors.json", "report.html", "deploy", "baselines",
}  # fmt: skip


def visible(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir() if not p.name.startswith(".")}


def test_the_run_folder_is_complete(finished_run: SearchResult) -> None:
    folder = finished_run.folder
    assert FILES <= visible(folder) <= FILES | {"evaluations.sqlite-wal", "evaluations.sqlite-shm"}
    space = json.loads((folder / "space.json").read_text())
    assert len(space["units"]) == 17
    assert {k["name"] for k in space["knobs"]} >= {"depth", "layer.0.heads", "inference_precision"}
    assert not (folder / ".work").exists()


def test_everything_in_the_front_was_measured(finished_run: SearchResult) -> None:
    front = finished_run.front
    journal = Journal(finished_run.folder / "evaluations.sqlite")
    timed = {e.candidate for e in journal.evaluations("final-latency")}
    judged = {e.candidate: e for e in journal.evaluations("final")}
    for _, row in front.iterrows():
        assert row["candidate"] in timed
        assert judged[row["candidate"]].values["test_accuracy_top1"] == pytest.approx(row["test_accuracy_top1"])
    for e in journal.evaluations("final-latency"):
        assert e.details["latency"]["conditions"]["load_1min"] >= 0, "the machine meanwhile"
    points = front[["accuracy_top1", "latency_ms", "size_bytes"]].to_numpy() * np.array([-1, 1, 1])
    assert is_nondominated(points).all()
    for column in ("accuracy_top1", "test_accuracy_top1"):
        assert (front[f"{column}_ci95_low"] <= front[column]).all()
        assert (front[column] <= front[f"{column}_ci95_high"]).all()


def test_a_limit_is_predicted_with_all_that_an_objective_is(tiny_model: str, tmp_path: Path) -> None:
    """What INT8 costs units, and what units take, though accuracy and latency are no objectives."""
    settings = {**QUICK, **SMALL, "algorithm": "qnas", "objectives": ["size"], "max_drop": 0.9, "max_latency_ms": 1e3}
    run_search(settings, out=tmp_path / "run")
    journal = Journal(tmp_path / "run" / "evaluations.sqlite")
    assert journal.meta("unit_damage")
    assert journal.meta("latency_table")
    assert journal.meta("prepared_seconds") > 0
    record = json.loads((tmp_path / "run" / "predictors.json").read_text())
    assert set(record) == {"accuracy_top1", "latency_ms"}
    assert record["accuracy_top1"]["model"] == "gaussian process of margins"


def test_the_journal_holds_how_clear_each_answer_was(finished_run: SearchResult) -> None:
    searched = Journal(finished_run.folder / "evaluations.sqlite").evaluations("search")
    assert searched
    for evaluation in searched:
        margins = np.array(evaluation.details["margins"])
        assert len(margins) == evaluation.details["num_samples"]
        assert evaluation.values["accuracy_top1"] == pytest.approx((margins > 0).mean())


def test_speed_ups_are_against_the_fastest_int8_baseline(finished_run: SearchResult) -> None:
    baselines = finished_run.baselines.set_index("baseline")
    int8 = baselines[baselines.index.str.startswith("int8-")]["latency_ms"].min()
    expected = int8 / finished_run.front["latency_ms"]
    np.testing.assert_allclose(finished_run.front["speedup_vs_int8"], expected)
    assert {"float-f32", "int8-f32"} <= set(baselines.index)


def test_predictors_are_scored_on_unseen_samples(finished_run: SearchResult) -> None:
    record = json.loads((finished_run.folder / "predictors.json").read_text())
    assert set(record) == {"accuracy_top1", "latency_ms"}
    for scores in record.values():
        assert scores["cross_validated"]["num_samples"] == scores["num_training"] >= QUICK["evaluations"]
        assert scores["before_measuring"]["num_samples"] == QUICK["evaluations"] - QUICK["population"]


def test_packages_hold_what_the_manifest_says(finished_run: SearchResult, digits: Task) -> None:
    for name in finished_run.front["candidate"]:
        package = finished_run.folder / "deploy" / name
        manifest = json.loads((package / "manifest.json").read_text())
        for file, digest in manifest["files"].items():
            assert digest_file(package / file) == digest
        assert {p.name for p in package.iterdir()} == {*manifest["files"], "manifest.json"}
        assert set(manifest["units"]) == set(manifest["policy"])
        model = ov.Core().read_model(package / "openvino_model.xml")
        assert "architecture" in str(model.get_rt_info(["qnas_ov", "candidate"]).astype(str)) or name.startswith("int8")
        hint = {"INFERENCE_PRECISION_HINT": manifest["inference_precision"]}
        outputs = ov.Core().compile_model(model, "CPU", hint)(digits.test.inputs["pixel_values"])[0]
        accuracy = (outputs.argmax(1) == digits.test.labels).mean()
        assert accuracy == pytest.approx(manifest["measured"]["test_accuracy_top1"], abs=1.1 / len(digits.test))


def test_the_report_needs_no_network(finished_run: SearchResult) -> None:
    page = (finished_run.folder / "report.html").read_text()
    head = page[:2000]
    assert "tiny-vit on CPU" in head
    assert "<script src=" not in page
    assert '<link rel="stylesheet"' not in page
    for name in finished_run.front["candidate"]:
        assert str(name) in page


def test_a_finished_run_is_returned_as_it_is(finished_run: SearchResult) -> None:
    before = (finished_run.folder / "evaluations.sqlite").read_bytes()
    again = run_search({"model": "tiny-vit"}, out=finished_run.folder, resume=True)
    pd.testing.assert_frame_equal(again.front, finished_run.front)
    assert (finished_run.folder / "evaluations.sqlite").read_bytes() == before


def test_packaging_copies_and_refuses(finished_run: SearchResult, tmp_path: Path) -> None:
    name = str(finished_run.front["candidate"][0])
    target = finished_run.package(name, tmp_path / "out")
    assert (target / "openvino_model.bin").exists()
    with pytest.raises(InputError, match="must not exist yet"):
        finished_run.package(name, tmp_path / "out")
    with pytest.raises(KeyError, match="unknown candidate 'c999'"):
        finished_run.package("c999", tmp_path / "other")


class StopAfter(Silent):
    """Presses Ctrl-C when the search has measured so many candidates."""

    def __init__(self, count: int) -> None:
        self.left: int | None = None
        self._count = count

    def begin(self, text: str, total: int) -> None:
        self.left = self._count if text.startswith("searching") else None
        self.step("", 0)

    def step(self, text: str = "", count: int = 1) -> None:
        if self.left is not None:
            self.left -= count
            if self.left == 0:
                raise KeyboardInterrupt


def test_the_search_repeats_itself(finished_run: SearchResult, tmp_path: Path) -> None:
    """Feeding recipe.yaml back proposes the same first batch, whatever the machine measured."""
    from qnas_ov.recipe import read_recipe_file

    count = QUICK["population"]
    recipe = read_recipe_file(finished_run.folder / "recipe.yaml")
    with pytest.raises(KeyboardInterrupt):
        run_search(recipe, out=tmp_path / "again", progress=StopAfter(count))
    first, second = (
        [e.genotype for e in Journal(folder / "evaluations.sqlite").evaluations("search")]
        for folder in (finished_run.folder, tmp_path / "again")
    )
    assert len(second) == count
    assert first[:count] == second


def test_another_algorithm_and_other_objectives(tiny_model: str, tmp_path: Path) -> None:
    settings = {"algorithm": "nsga2", "objectives": ["macs", "accuracy"]}
    result = run_search({**QUICK, **SMALL, **settings}, out=tmp_path / "run")
    assert result.predictors == {}
    assert set(result.front["inference_precision"]) == {"f32"}


def test_throughput_and_memory_are_objectives(tiny_model: str, tmp_path: Path) -> None:
    objectives = ["accuracy", "throughput", "memory_bytes"]
    result = run_search({**QUICK, **SMALL, "objectives": objectives}, out=tmp_path / "run")
    columns = ["accuracy_top1", "throughput_per_s", "memory_bytes"]
    table = pd.read_csv(result.folder / "evaluations.csv")
    searched = table[table["stage"] == "search"]
    assert len(searched) == SMALL["evaluations"]
    assert (searched[[*columns, "latency_ms"]] > 0).all(axis=None)
    timed = table[table["stage"] == "final-latency"]
    assert (timed[["throughput_per_s", "memory_bytes"]] > 0).all(axis=None)
    for found in (result.front, result.baselines):
        for column in columns[1:]:
            assert (found[f"{column}_low"] <= found[column]).all()
            assert (found[column] <= found[f"{column}_high"]).all()
    points = result.front[columns].to_numpy() * np.array([-1, -1, 1])
    assert is_nondominated(points).all()
    page = (result.folder / "report.html").read_text()
    assert all(str(name) in page for name in result.front["candidate"])


# --- what is refused -------------------------------------------------------------------------------------------------

BAD = [
    ({"model": "digit-vit"}, "unknown model 'digit-vit': choose one of .*did you mean 'digits-vit'"),
    ({"model": "tiny-vit", "device": "TPU"}, "device 'TPU' is not available: this machine has"),
    ({"model": "tiny-vit", "dataset": "digit"}, "unknown data set 'digit': .*did you mean 'digits'"),
    ({"model": "tiny-vit", "objectives": ("accuracy", "speed")}, "unknown objective 'speed'"),
    ({"model": "tiny-vit", "evaluation": 5}, "unknown setting .* 'evaluation'"),
    ({"model": "tiny-vit", "evaluations": "5"}, "'evaluations' in .*integer"),
    (
        {"model": "tiny-vit", "max_size_mb": 0.001},
        r"no candidate meets --max-size-mb 0.001: the smallest one has 0\.0\d+ MB"),
    ({}, "must name a model"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "message"), BAD)
def test_bad_settings_write_nothing(tiny_model: str, tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(QnasError, match=message) as caught:
        run_search(settings, out=tmp_path / "run")
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_folder_with_another_run_is_kept(finished_run: SearchResult) -> None:
    before = sorted((p.name, p.stat().st_mtime_ns) for p in finished_run.folder.iterdir())
    with pytest.raises(RunFolderError, match="holds a run already: add --resume"):
        run_search(QUICK, out=finished_run.folder)
    with pytest.raises(RunFolderError, match=r"seed \(the run has 0.*, given 7.*\)"):
        run_search({**QUICK, "seed": 7}, out=finished_run.folder, resume=True)
    assert sorted((p.name, p.stat().st_mtime_ns) for p in finished_run.folder.iterdir()) == before


def test_a_folder_with_other_things_is_kept(tiny_model: str, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match=r"must be empty or hold a run: it holds thesis.tex"):
        run_search(QUICK, out=tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="must be a folder: it is a file"):
        run_search(QUICK, out=tmp_path / "file")


def test_a_damaged_journal_is_refused(finished_run: SearchResult, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished_run.folder, folder)
    (folder / "evaluations.sqlite").write_bytes(b"garbage" * 1000)
    with pytest.raises(RunFolderError, match="damaged"):
        run_search({"model": "tiny-vit"}, out=folder, resume=True)
    assert (folder / "evaluations.sqlite").read_bytes() == b"garbage" * 1000


def test_another_machine_is_refused(finished_run: SearchResult, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished_run.folder, folder)
    machine = json.loads((folder / "machine.json").read_text())
    (folder / "machine.json").write_text(json.dumps({**machine, "cpu": "Another CPU"}))
    with pytest.raises(RunFolderError, match="cpu was Another CPU"):
        run_search({"model": "tiny-vit"}, out=folder, resume=True)


def test_two_runs_in_one_folder(finished_run: SearchResult) -> None:
    from qnas_ov.pipeline._run_folder import RunFolder
    from qnas_ov.recipe import Recipe

    with (
        RunFolder(finished_run.folder, Recipe(model="tiny-vit")),
        pytest.raises(RunFolderError, match="another process"),
    ):
        run_search({"model": "tiny-vit"}, out=finished_run.folder, resume=True)


def test_constraints_that_nobody_meets_say_which_and_keep_the_journal(tiny_model: str, tmp_path: Path) -> None:
    settings = {**QUICK, **SMALL, "max_latency_ms": 1e-6}
    with pytest.raises(
        ConstraintError, match=r"no candidate meets --max-latency-ms .*: the best latency_ms of 8"
    ) as caught:
        run_search(settings, out=tmp_path / "run")
    assert caught.value.exit_code == 2
    assert len(Journal(tmp_path / "run" / "evaluations.sqlite").evaluations("search")) == 8
    assert not (tmp_path / "run" / "pareto.csv").exists()


def test_a_constraint_holds_on_the_front(finished_run: SearchResult) -> None:
    searched = pd.read_csv(finished_run.folder / "evaluations.csv")
    searched = searched[searched["stage"] == "search"]
    limit = QUICK["max_size_mb"] * 1e6
    assert (searched["size_bytes"] > limit).any(), "else there was nothing to leave out"
    assert len(finished_run.front)
    assert (finished_run.front["size_bytes"] <= limit).all()


def test_a_failed_measurement_is_a_record_and_not_a_number(
    tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = evaluate_module.Evaluator._measure_candidate, {"n": 0}

    def sometimes(self: Any, genotype: Any, name: str, race: Any) -> Any:
        calls["n"] += 1
        if calls["n"] in (2, 5):
            raise MeasurementError("benchmark_app ended with code 1 on c002.xml: device busy")
        return real(self, genotype, name, race)

    monkeypatch.setattr(evaluate_module.Evaluator, "_measure_candidate", sometimes)
    result = run_search({**QUICK, **SMALL}, out=tmp_path / "run")
    assert result.predictors == {}, "a random search predicts nothing"
    table = pd.read_csv(result.folder / "evaluations.csv")
    failed = table[table["status"] == "failed"]
    assert len(failed) == 2
    assert failed["latency_ms"].isna().all()
    assert failed["reason"].str.contains("device busy").all()
    assert not set(failed["candidate"]) & set(result.front["candidate"])


def test_the_python_call_is_the_same_search(finished_run: SearchResult) -> None:
    result = qnas_ov.search("tiny-vit", out=finished_run.folder, resume=True)
    pd.testing.assert_frame_equal(result.front, load_result(finished_run.folder).front)


# --- what a continued run insists on ---------------------------------------------------------------------------------


def test_resume_needs_a_run(tiny_model: str, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="holds no run to resume: check the name"):
        run_search(QUICK, out=tmp_path / "typo", resume=True)
    assert not (tmp_path / "typo").exists()


def test_resume_checks_settings_by_meaning(finished_run: SearchResult) -> None:
    same = {**QUICK, "device": "cpu", "dataset": None, "objectives": ["accuracy", "latency", "size"]}
    assert len(run_search(same, out=finished_run.folder, resume=True).front) == len(finished_run.front)
    with pytest.raises(KeyError, match="unknown setting .* 'evaluation'"):
        run_search({"model": "tiny-vit", "evaluation": 5}, out=finished_run.folder, resume=True)


@pytest.mark.parametrize("how", ["empty", "missing"])
def test_a_lost_journal_is_not_begun_anew(finished_run: SearchResult, tmp_path: Path, how: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished_run.folder, folder)
    for path in folder.glob("evaluations.sqlite*"):
        path.unlink()
    if how == "empty":
        (folder / "evaluations.sqlite").touch()
    with pytest.raises(RunFolderError, match="is missing or empty"):
        run_search({"model": "tiny-vit"}, out=folder, resume=True)


def test_changed_inputs_are_named(finished_run: SearchResult, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished_run.folder, folder)
    journal = Journal(folder / "evaluations.sqlite")
    journal.set_meta("inputs", {**journal.meta("inputs"), "the data": "of another day"})
    journal.set_meta("finished", False)
    journal.close()
    with pytest.raises(RunFolderError, match="began with: the data changed"):
        run_search({"model": "tiny-vit"}, out=folder, resume=True)


def test_a_failed_baseline_is_not_recorded_but_tried_again(
    tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Any, *arguments: Any, **options: Any) -> Any:
        raise MeasurementError("benchmark_app did not finish within 600 s")

    settings = {**QUICK, **SMALL}
    with monkeypatch.context() as patch:
        patch.setattr(evaluate_module.Evaluator, "measure_latency", broken)
        with pytest.raises(QnasError, match="could not be measured as float-f32: .*run again with --resume") as caught:
            run_search(settings, out=tmp_path / "run")
        assert caught.value.exit_code == 1
    journal = Journal(tmp_path / "run" / "evaluations.sqlite")
    assert journal.evaluations() == []
    with pytest.raises(KeyboardInterrupt):
        run_search(settings, out=tmp_path / "run", resume=True, progress=StopAfter(0))
    measured = journal.evaluations("baseline")
    assert {"float-f32", "int8-f32"} <= {e.candidate for e in measured}
    assert all(e.ok for e in measured)
