"""How well latency is predicted from few measurements, for candidates that the predictor has not seen.

ViT-B/16 and BERT-base (128 tokens) in their joint spaces, ResNet-50 in that of its policies, all with random weights
and under both inference precisions; candidates are drawn as a search draws its first ones. Beside our predictors: MACs
alone, the one-hot ridge and SVR of LINAS, and the plain sum of the look-up table. What is fitted on was measured once,
as in a search; what is predicted is the mean of several measurements. The ceiling is how well a second measurement of
the same candidates agrees with the first.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _common import Outcome, at_least, at_most, main, parser
from _latency_samples import HINTS, SUBJECTS, Samples, Subject, draw, key
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.svm import SVR

from qnas_ov.measure import Profile, profile_network
from qnas_ov.pipeline._table import measure_table, unit_work
from qnas_ov.predict import (
    FeatureMap,
    LookUpTable,
    UnitTimes,
    UnitUse,
    choose_informative,
    fit_predictor,
    score,
    table_genotypes,
)
from qnas_ov.space import Genotype
from qnas_ov.terminal import TerminalProgress

SIZES = (16, 32, 64)
SECONDS = 2.0
TEST_SEED, RANDOM_SEED, POOL_SEED = 1, 2, 3


def run(arguments: argparse.Namespace) -> Outcome:
    num_test, most = (20, SIZES[0]) if arguments.quick else (arguments.unseen, arguments.samples)
    sizes = tuple(size for size in SIZES if size <= most)
    names = arguments.network or (["vit"] if arguments.quick else list(SUBJECTS))
    end = time.monotonic() + arguments.minutes * 60 if arguments.minutes else float("inf")
    figures, goals, tables = {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        data = arguments.data or Path(folder)
        data.mkdir(parents=True, exist_ok=True)
        for name in names:
            study = Study(
                SUBJECTS[name](HINTS),
                data / f"{name}.json",
                num_test=num_test,
                size=max(sizes),
                seconds=arguments.seconds,
            )
            left = study.measure(end, arguments.repeats)
            if left:
                print(f"{study.subject.name}: {left} measurements are left; run again with the same --data")
                continue
            rows, ceiling = study.compare(sizes)
            title = study.subject.name
            tables[f"{title}, {num_test} unseen candidates"] = rows
            best = next(r for r in rows if r["method"] == "ours, active" and r["samples"] == max(sizes))
            figures |= {
                f"{title}: Kendall tau": best["tau"], f"{title}: MAPE": best["MAPE"],
                **{f"{title}: {k}": v for k, v in ceiling.items()},
            }  # fmt: skip
            goals[f"{title}: Kendall tau, {max(sizes)} samples"] = at_least(best["tau"], 0.97)
            goals[f"{title}: MAPE, {max(sizes)} samples"] = at_most(best["MAPE"], 0.03)
    return Outcome(figures, goals, tables)


class Study:
    """The samples of one network and what predictors make of them."""

    def __init__(
        self,
        subject: Subject,
        path: Path,
        *,
        num_test: int,
        size: int,
        seconds: float,
        settings: dict[str, object] | None = None,
    ) -> None:
        self.subject = subject
        space, builder = subject.builder.space, subject.builder
        self._table_path = path.with_suffix(".table.json")
        self._samples = Samples(path, subject, seconds=seconds, settings=settings)
        self.table: LookUpTable | None = None
        self.test = draw(subject, num_test, seed=TEST_SEED)
        seen = set(self.test)
        self.random = [g for g in draw(subject, num_test + size, seed=RANDOM_SEED) if g not in seen][:size]
        pool = [g for g in [*table_genotypes(space), *draw(subject, 1500, seed=POOL_SEED)] if g not in seen]
        self._use = UnitUse(space, unit_work(builder))
        columns = self._use(np.array(pool))
        self.active = [pool[i] for i in choose_informative(columns, columns[:0], size)]

    def measure(self, until: float, repeats: int, *, ceiling: bool = True) -> int:
        """Measures what is not known yet, all sets in turn, so that none is of a slower hour; how many are left.

        Args:
            until: When to stop, by the monotonic clock in seconds.
            repeats: Measurements of every unseen candidate.
            ceiling: Whether some are measured again, and those of active sampling at all.
        """
        if not self._table_path.exists():
            times = self._measure_table()
            self._table_path.write_text(json.dumps([t.to_json() for t in times]))
        times = [UnitTimes.from_json(r) for r in json.loads(self._table_path.read_text())]
        self.table = LookUpTable(self.subject.builder.space, unit_work(self.subject.builder), times)
        progress = TerminalProgress()
        groups = (self.test, self.random, self.active) if ceiling else (self.test, self.random)
        once = [g for group in zip_longest(*groups) for g in group if g is not None]
        again = self.test if repeats > 1 else self.test[: len(self.test) * 2 // 5]
        rounds = range(2, max(repeats, 2) + 1) if ceiling else ()
        progress.begin(f"measuring {self.subject.name}", len(once) + len(rounds) * len(again))
        left = 0
        for genotypes, times_each in ((once, 1), *((again, n) for n in rounds)):
            left += self._samples.measure(genotypes, times=times_each, until=until, tell=progress.step)
        progress.end()
        return left

    def _measure_table(self) -> list[UnitTimes]:
        def profile(path: Path, precision: str) -> Profile:
            return profile_network(path, self._samples.settings(precision), iterations=20)

        with tempfile.TemporaryDirectory() as folder:
            return measure_table(self.subject.builder, profile, Path(folder))[1]

    def latencies(self, genotypes: list[Genotype], run: int | None = None) -> np.ndarray:
        """Milliseconds (n,): means of the runs of each, or one run of each."""
        runs = [[r["latency_ms"] for r in self._samples.runs[key(g)]] for g in genotypes]
        return np.array([np.mean(r) if run is None else r[run] for r in runs])

    def compare(self, sizes: tuple[int, ...]) -> tuple[list[dict[str, Any]], dict[str, float]]:
        """Every method at every number of samples; and the ceiling that the machine's noise sets."""
        truth = self.latencies(self.test)
        rows = []
        for size in sizes:
            for name, (genotypes, method) in self._methods(size).items():
                known = self.latencies(genotypes) if genotypes else np.zeros(0)
                predicted, told = method(genotypes, known)
                found = score(truth, predicted)
                rows.append(
                    {"samples": size, "method": name, "tau": found.kendall_tau, "MAPE": found.mape, "model": told}
                )
        twice = [g for g in self.test if len(self._samples.runs[key(g)]) > 1]
        again = score(self.latencies(twice, 0), self.latencies(twice, 1))
        return rows, {
            "tau of a second measurement": again.kendall_tau,
            "difference of a second measurement": again.mape,
        }

    def _methods(self, size: int) -> dict[str, tuple[list[Genotype], Callable[..., tuple[np.ndarray, str]]]]:
        random, active = self.random[:size], self.active[:size]
        return {
            "MACs": (random, self._by_macs),
            "one-hot ridge (LINAS)": (random, lambda g, y: self._one_hot(RidgeCV(np.logspace(-3, 3, 13)), g, y)),
            "one-hot SVR (LINAS)": (random, lambda g, y: self._one_hot(SVR(C=100.0, epsilon=0.01), g, y)),
            "sum of table entries": ([], lambda g, y: (self._prior(self.test), "")),
            "ours, random": (random, self._ours),
            "ours, active": (active, self._ours),
        }

    def _prior(self, genotypes: list[Genotype]) -> np.ndarray:
        assert self.table is not None
        return self.table(np.array(genotypes))

    def _by_macs(self, genotypes: list[Genotype], known: np.ndarray) -> tuple[np.ndarray, str]:
        def macs(chosen: list[Genotype]) -> np.ndarray:
            return self.subject.builder.compute_costs(np.array(chosen))["macs"][:, None]

        return LinearRegression().fit(macs(genotypes), known).predict(macs(self.test)), "line"

    def _one_hot(self, model: Any, genotypes: list[Genotype], known: np.ndarray) -> tuple[np.ndarray, str]:
        space, scale = self.subject.builder.space, known.mean()
        fitted = model.fit(space.one_hot(np.array(genotypes)), known / scale)
        return scale * fitted.predict(space.one_hot(np.array(self.test))), type(model).__name__

    def _ours(self, genotypes: list[Genotype], known: np.ndarray) -> tuple[np.ndarray, str]:
        builder = self.subject.builder
        features = FeatureMap(builder.space, builder.compute_costs, units=unit_work(builder), prior=self.table)
        fitted = fit_predictor(features(np.array(genotypes)), known, seed=0, layout=features.layout)
        return fitted.predict(features(np.array(self.test))), fitted.name


def zip_longest(*groups: list[Genotype]) -> list[tuple[Genotype | None, ...]]:
    """Rows of the groups side by side, filled up with None."""
    longest = max(len(g) for g in groups)
    return [tuple(g[i] if i < len(g) else None for g in groups) for i in range(longest)]


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--network", action="append", choices=list(SUBJECTS), help="only this one; may be repeated")
    options.add_argument("--unseen", type=int, default=100, help="candidates that predictions are judged on")
    options.add_argument("--samples", type=int, default=max(SIZES), choices=SIZES, help="most samples to fit on")
    options.add_argument("--data", type=Path, help="folder that keeps measurements, so that a run can go on")
    options.add_argument("--minutes", type=float, help="stop measuring after this time; go on with the same --data")
    options.add_argument("--seconds", type=float, default=SECONDS, help="measuring time of a benchmark_app process")
    options.add_argument(
        "--repeats",
        type=int,
        default=2,
        help="measurements of every unseen candidate; with 1, two fifths are measured again for the ceiling",
    )
    main(options, run)
