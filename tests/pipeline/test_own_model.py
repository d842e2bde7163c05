"""A user's own network and samples: policy search and sensitivity, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from networks import OUTLIER, outlier_network, save_samples

from qnas_ov.core.errors import ConstraintError, QnasError
from qnas_ov.pipeline import SearchResult, run_search, run_sensitivity
from qnas_ov.pipeline._loading import SPLIT_SEED
from qnas_ov.tasks import load_samples

QUICK = {
    "algorithm": "random",
    "evaluations": 12,
    "population": 6,
    "inner_evaluations": 200,
    "front_size": 3,
    "latency_seconds": 0.02,
    "final_rounds": 1,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("own")
    return str(outlier_network(folder / "model.xml")), str(save_samples(folder / "samples.npz"))


@pytest.fixture(scope="module")
def run(files: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    model, data = files
    settings = {"model": model, "data": data, "precisions": ["int8", "w8", "float"], **QUICK}
    return run_search(settings, out=tmp_path_factory.mktemp("runs") / "own")


def test_a_search_without_labels(run: SearchResult) -> None:
    assert run.metric == "agreement_top1"
    recipe = (run.folder / "recipe.yaml").read_text()
    assert "- error" in recipe
    float_row = run.baselines.set_index("baseline").loc["float-f32"]
    assert float_row["test_agreement_top1"] == 1.0
    assert float_row["test_output_error"] == 0.0
    int8 = run.baselines[run.baselines["baseline"].str.startswith("int8")]
    assert (int8["test_output_error"] > 0.05).all()
    assert {"output_error", "test_output_error", "units_w8"} <= set(run.front.columns)
    searched = pd.read_csv(run.folder / "evaluations.csv")
    searched = searched[searched["stage"] == "search"]
    assert len(searched) == QUICK["evaluations"]
    assert (searched["status"] == "ok").all()


def test_the_report_says_that_the_architecture_was_not_searched(run: SearchResult) -> None:
    page = (run.folder / "report.html").read_text()
    assert "no known elastic dimensions" in page
    assert "agreement top-1" in page


def test_the_ignored_scope_gives_the_policy(files: tuple[str, str], tmp_path: Path) -> None:
    """What is printed, pasted into nncf.quantize, makes the network that is saved beside it."""
    import nncf
    import openvino as ov

    model, data = files
    settings = {"model": model, "data": data, "max_drop": 0.1, "inference_precision": "f32"}
    result = run_sensitivity(settings, out=tmp_path / "sens", samples=12, latency=False)
    assert result.policy is not None
    scope = eval(result.policy.ignored_scope, {"nncf": nncf})
    task = load_samples(Path(data), inputs={"features": ((32,), "float32")}, num_classes=10, seed=SPLIT_SEED)
    features = task.calibration.inputs["features"]
    fresh = nncf.quantize(
        ov.Core().read_model(model),
        nncf.Dataset([features[i : i + 1] for i in range(len(features))]),
        subset_size=len(features),
        ignored_scope=scope,
        advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.DISABLE),
    )
    saved = ov.Core().read_model(tmp_path / "sens" / "policy.xml")
    inputs = task.test.inputs["features"]
    hint = {"INFERENCE_PRECISION_HINT": "f32"}
    one, other = (ov.Core().compile_model(m, "CPU", hint)(inputs)[0] for m in (fresh, saved))
    assert np.array_equal(one, other)


def test_the_front_leaves_the_outlier_out_of_int8(run: SearchResult) -> None:
    best = run.front.loc[run.front["output_error"].idxmin(), "candidate"]
    manifest = json.loads((run.folder / "deploy" / str(best) / "manifest.json").read_text())
    assert manifest["policy"][OUTLIER] != "int8"
    assert sorted(manifest["files"]) == ["openvino_model.bin", "openvino_model.xml", "samples.npz"]


def test_the_planted_layer_is_the_worst_and_is_reverted_first(files: tuple[str, str], tmp_path: Path) -> None:
    model, data = files
    settings = {"model": model, "data": data, "max_drop": 0.1, "inference_precision": "f32"}
    result = run_sensitivity(settings, out=tmp_path / "sens", latency=False)
    assert result.units[0].unit == OUTLIER
    assert result.units[0].output_error > 5 * result.units[1].output_error
    assert result.policy is not None
    assert result.policy.float_units == (OUTLIER,)
    assert result.policy.ignored_scope is not None
    assert result.policy.ignored_scope.count("aten::linear") == 1
    assert result.policy.validation <= 0.1
    table = pd.read_csv(tmp_path / "sens" / "sensitivity.csv")
    assert table["unit"].tolist() == [u.unit for u in result.units]
    assert table["output_error"].is_monotonic_decreasing
    assert json.loads((tmp_path / "sens" / "sensitivity.json").read_text())["policy"]["limit"] == "--max-drop 0.1"
    assert OUTLIER in (tmp_path / "sens" / "sensitivity.html").read_text()


def test_what_int8_saves_has_an_interval(files: tuple[str, str]) -> None:
    model, data = files
    result = run_sensitivity({"model": model, "data": data}, latency=True)
    assert result.policy is None
    for unit in result.units:
        assert unit.saving_ms is not None
        assert unit.saving_ms.low <= unit.saving_ms.value <= unit.saving_ms.high


def test_a_limit_that_float_itself_breaks(files: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    from qnas_ov.pipeline import _sensitivity

    model, data = files
    score = _sensitivity._Policies.score

    def worse(self: object, model: object, split: object, hint: str | None = None) -> object:
        scores = score(self, model, split, hint)  # type: ignore[arg-type]
        return scores if hint == "f32" else replace(scores, value=0.0)

    monkeypatch.setattr(_sensitivity._Policies, "score", worse)
    with pytest.raises(ConstraintError, match="no policy keeps --max-drop 0.01"):
        run_sensitivity({"model": model, "data": data, "max_drop": 0.01}, latency=False)


def test_labels_make_it_accuracy(files: tuple[str, str], tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 10, 120)
    data = save_samples(tmp_path / "labelled.npz", labels=labels)
    result = run_sensitivity({"model": files[0], "data": str(data)}, latency=False)
    assert result.metric == "accuracy_top1"
    assert result.reference < 0.5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": None}, ("needs samples", "--data")),
        ({"model": "missing.xml"}, ("missing.xml",)),
        ({"data": "missing.npz"}, ("missing.npz",)),
        ({"dataset": "digits"}, ("--data and --dataset",)),
        ({"precisions": ["int8"]}, ("precisions", "two or three")),
        ({"precisions": ["int8", "int4"]}, ("precisions", "int4")),
        ({"shape": "features(1,32)"}, ("--shape", "features(1,32)")),
        ({"shape": "wrong[1,32]"}, ("wrong",)),
        ({"merge_units": "layer"}, ("merge_units", "layer")),
    ],
)
def test_what_is_refused_leaves_nothing_behind(
    files: tuple[str, str], tmp_path: Path, changes: dict[str, object], words: tuple[str, ...]
) -> None:
    given = {"model": files[0], "data": files[1], **QUICK, **changes}
    given = {k: v for k, v in given.items() if v is not None}
    with pytest.raises(QnasError) as error:
        run_search(given, out=tmp_path / "out")
    assert error.value.exit_code == 2
    assert all(word in str(error.value) for word in words), error.value
    assert not (tmp_path / "out").exists()


def test_a_network_without_quantizable_layers_is_refused(tmp_path: Path) -> None:
    import openvino as ov

    from qnas_ov.ir import save_ir

    x = ov.opset13.parameter([-1, 32], np.float32, name="features")
    x.output(0).get_tensor().set_names({"features"})
    model = save_ir(ov.Model([ov.opset13.softmax(x, 1)], [x]), tmp_path / "plain.xml")
    data = save_samples(tmp_path / "samples.npz")
    with pytest.raises(QnasError, match="nothing to quantize"):
        run_search({"model": str(model), "data": str(data), **QUICK}, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
