"""What was measured in one run begins the predictions of another."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from qnas_ov.core.errors import InputError
from qnas_ov.core.files import write_json
from qnas_ov.core.progress import Silent
from qnas_ov.core.records import Evaluation
from qnas_ov.ir import CandidateBuilder, Scheme
from qnas_ov.journal import Journal
from qnas_ov.pipeline._warm import judged_of_run, mean_prior, prior_of_run
from qnas_ov.predict import score


def times(builder: CandidateBuilder, genotypes: np.ndarray) -> np.ndarray:
    """Some 1 to 5 ms: INT8 takes a third of the time of float."""
    costs = builder.compute_costs(genotypes)
    return 1.0 + 1e-6 * (costs["macs"] - costs["macs_int8"]) + 0.3e-6 * costs["macs_int8"]


@pytest.fixture(scope="module")
def run(tiny_builder: CandidateBuilder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a search leaves of 30 candidates."""
    folder = tmp_path_factory.mktemp("run")
    units = [
        {"key": u.key, "knob": u.knob, "macs": u.macs, "params": u.params, "widths": list(tiny_builder.widths_of(u))}
        for u in tiny_builder.units
    ]
    write_json(folder / "space.json", {"knobs": tiny_builder.space.to_json(), "units": units})
    journal = Journal(folder / "evaluations.sqlite")
    genotypes = tiny_builder.space.sample(np.random.default_rng(5), 30)
    for i, (genotype, ms) in enumerate(zip(genotypes.tolist(), times(tiny_builder, genotypes), strict=True)):
        values = {"latency_ms": float(ms), "output_error": 1.0 / float(ms)}
        journal.append(Evaluation(str(i), "search", f"c{i}", tuple(genotype), "ok", values))
    journal.append(Evaluation("f", "search", "c99", tuple(genotypes[0].tolist()), "failed", reason="a crash"))
    journal.close()
    return folder


def rebuilt(tiny_builder: CandidateBuilder, precisions: tuple[str, ...]) -> CandidateBuilder:
    return CandidateBuilder(
        tiny_builder.bank, tiny_builder.elastic, inference_precisions=precisions, scheme=Scheme(transformer=True)
    )


def test_the_mean_of_priors_is_geometric_and_needs_at_least_one(rng: np.random.Generator) -> None:
    genotypes = rng.integers(0, 3, (5, 2))
    slow, fast = (lambda g: 8.0 + g[:, 0]), (lambda g: 2.0 * (8.0 + g[:, 0]))
    assert mean_prior(None, None) is None
    for priors in ((slow, None), (None, slow)):
        found = mean_prior(*priors)
        assert found is not None
        np.testing.assert_allclose(found(genotypes), slow(genotypes))
    both = mean_prior(slow, fast)
    assert both is not None
    np.testing.assert_allclose(both(genotypes), np.sqrt(2.0) * slow(genotypes))


def test_a_run_of_the_same_space_is_taken_over(
    run: Path, tiny_builder: CandidateBuilder, rng: np.random.Generator
) -> None:
    unseen = tiny_builder.space.sample(rng, 50)
    found = score(times(tiny_builder, unseen), prior_of_run(run, tiny_builder, Silent())(unseen))
    assert found.kendall_tau > 0.95
    assert found.mape < 0.03


def test_how_candidates_of_the_same_space_were_judged_is_taken_over(
    run: Path, tiny_builder: CandidateBuilder, rng: np.random.Generator
) -> None:
    unseen = tiny_builder.space.sample(rng, 50)
    columns = ("accuracy_top1", "output_error")  # of which the run holds one
    found = judged_of_run(run, tiny_builder, columns, Silent())
    assert found is not None
    assert found(unseen).shape == (50, 1)
    assert score(1.0 / times(tiny_builder, unseen), found(unseen)[:, 0]).kendall_tau > 0.8
    assert judged_of_run(run, rebuilt(tiny_builder, ("f32",)), columns, Silent()) is None


def test_a_run_of_another_space_tells_by_units_and_work(
    run: Path, tiny_builder: CandidateBuilder, rng: np.random.Generator
) -> None:
    """The same network with its blocks merged has other units, as another network would have."""
    merged = CandidateBuilder(
        tiny_builder.bank, tiny_builder.elastic, inference_precisions=("bf16", "f32"), merge_blocks=True,
        scheme=Scheme(transformer=True),
    )  # fmt: skip
    assert merged.space.to_json() != tiny_builder.space.to_json()
    unseen = merged.space.sample(rng, 50)
    assert score(times(merged, unseen), prior_of_run(run, merged, Silent())(unseen)).kendall_tau > 0.7


def test_what_does_not_fit_is_refused(run: Path, tiny_builder: CandidateBuilder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no run folder"):
        prior_of_run(tmp_path, tiny_builder, Silent())
    with pytest.raises(InputError, match="must have the same precisions and inference precisions"):
        prior_of_run(run, rebuilt(tiny_builder, ("f32",)), Silent())
    shutil.copy(run / "space.json", tmp_path)
    Journal(tmp_path / "evaluations.sqlite").close()
    with pytest.raises(InputError, match="must hold at least 8 latencies: it holds 0"):
        prior_of_run(tmp_path, tiny_builder, Silent())
