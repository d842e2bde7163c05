"""Predictors: linear, support vectors, boosted trees, a Gaussian process, a prior, and their combinations.

They are weighed by cross-validation. Every score is of samples that the scored model has not seen: weighing happens
inside each fold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import kendalltau
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import HuberRegressor, RidgeCV
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from qnas_ov.predict._features import FeatureLayout
from qnas_ov.predict._linear import RelativeRidge
from qnas_ov.predict._surrogate import Surrogate, cost_groups

PUBLISHED_KINDS = ("ridge", "svr")
"""What LINAS was published with (arXiv 2205.10358)."""

_FOLDS = 3
_LEAST, _NAMED = 0.1, 0.2
"""Smallest share of a kind in a combination, beside that of the best; and from where it is named."""


@dataclass(frozen=True)
class Scores:
    """How well predictions meet measurements.

    Attributes:
        mape: Mean absolute error as a share of the measured value (0.05 is 5%), over values of at least a hundredth of
            their mean: of what is nearly nothing, as the distance of a network to itself, a share says nothing.
        kendall_tau: Rank correlation, -1 to 1; 0 where either side is constant.
        num_samples: Samples scored.
    """

    mape: float
    kendall_tau: float
    num_samples: int

    def to_json(self) -> dict[str, Any]:
        """The scores as JSON."""
        return asdict(self)


def score(measured: np.ndarray, predicted: np.ndarray) -> Scores:
    """Compares measurements (n,) with predictions (n,)."""
    tau = kendalltau(measured, predicted).statistic if len(measured) > 1 else 0.0
    size = np.abs(measured)
    counts = (size >= 0.01 * size.mean()) & (size > 0)
    mape = float(np.mean(np.abs(predicted - measured)[counts] / size[counts])) if counts.any() else 0.0
    return Scores(mape, float(tau) if np.isfinite(tau) else 0.0, len(measured))


def _scaled(estimator: Any) -> Any:
    return TransformedTargetRegressor(make_pipeline(StandardScaler(), estimator), transformer=StandardScaler())


def _on_summary(estimator: Any, num_summary: int) -> Any:
    """The estimator on the first columns only: with few samples, few features; latency is nearly linear in them."""
    first = ColumnTransformer([("summary", "passthrough", slice(0, num_summary))])
    inner = make_pipeline(first, StandardScaler(), estimator)
    return TransformedTargetRegressor(inner, transformer=StandardScaler())


class _Mean:
    """The weighted mean of what several models predict."""

    def __init__(self, models: Sequence[Any], shares: Sequence[float]) -> None:
        self._models, self._shares = models, shares

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.average([m.predict(X) for m in self._models], axis=0, weights=self._shares)


class _Process:
    """The surrogate of qnas as an estimator."""

    def __init__(self, layout: FeatureLayout) -> None:
        self._surrogate = Surrogate(cost_groups(layout), prior=layout.prior, helper=None)

    def fit(self, X: np.ndarray, y: np.ndarray) -> _Process:
        self._surrogate.fit(X, y)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self._surrogate.predict_mean(X)


def _models(
    seed: int, layout: FeatureLayout | None, chosen: Sequence[str] | None = None
) -> dict[str, Callable[[], Any]]:
    """Estimators by kind: all that the layout allows, or the chosen ones."""
    layout = layout or FeatureLayout()
    summary = layout.num_summary
    kinds: dict[str, Callable[[], Any]] = {
        "ridge": lambda: _scaled(RidgeCV(alphas=np.logspace(-1, 4, 16))),
        "svr": lambda: _scaled(SVR(kernel="rbf", C=10.0, epsilon=0.02, gamma=0.003)),
        "gradient_boosting": lambda: GradientBoostingRegressor(
            n_estimators=60, max_depth=3, learning_rate=0.15, subsample=0.8, max_features=0.3, random_state=seed
        ),
    }
    if summary:
        kinds |= {
            "ridge on costs": lambda: _on_summary(RidgeCV(alphas=np.logspace(-2, 4, 20)), summary),
            "huber on costs": lambda: _on_summary(HuberRegressor(alpha=0.1, max_iter=1000), summary),
            "svr on costs": lambda: _on_summary(SVR(C=10.0, epsilon=0.05, gamma=0.02), summary),
        }
    if layout.num_use:
        kinds["ridge on units"] = lambda: RelativeRidge(layout.use)
    if summary and layout.num_genes:
        kinds["gaussian process"] = lambda: _Process(layout)
    if layout.prior:
        kinds["prior, scaled"] = lambda: RelativeRidge(prior=True, only_prior=True)
        if summary:
            kinds["prior and ridge on costs"] = lambda: RelativeRidge(slice(0, summary), prior=True)
        if layout.num_use:
            kinds["prior and ridge on units"] = lambda: RelativeRidge(layout.use, prior=True)
    return kinds if chosen is None else {name: kinds[name] for name in chosen}


@dataclass(frozen=True)
class FittedPredictor:
    """A predictor of one objective, fitted on all samples.

    Attributes:
        name: Which kind predicts, or which kinds are averaged, without those that count little.
        num_training: Samples that it was fitted on.
        spread: Root mean square of its relative errors on samples that a fold left out.
    """

    name: str
    num_training: int
    spread: float
    _model: Any
    _folds: tuple[Any, ...]

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Predictions (n,) for features (n, num_features)."""
        return np.asarray(self._model.predict(features), dtype=np.float64)

    def uncertainty(self, features: np.ndarray) -> np.ndarray:
        """Standard errors (n,) of the predictions.

        What the error was on left-out samples, and how much the models of the folds disagree here: far from all samples
        they do. After R. Barber et al., Predictive inference with the jackknife+ (2021), which bounds errors by both.
        """
        folds = np.stack([np.asarray(m.predict(features), dtype=np.float64) for m in self._folds])
        return np.sqrt((self.spread * self.predict(features)) ** 2 + folds.var(axis=0))


def fit_predictor(
    features: np.ndarray,
    targets: np.ndarray,
    *,
    seed: int,
    layout: FeatureLayout | None = None,
    kinds: Sequence[str] | None = None,
    combine: bool = True,
) -> FittedPredictor:
    """Compares the kinds of model by cross-validated relative error and fits the good ones on all samples.

    Args:
        features: Float array (n, num_features).
        targets: Measured values (n,).
        seed: Seed of the folds and of the boosted trees.
        layout: Which columns are what; models that need only some of them compete too.
        kinds: The kinds that compete, None for all.
        combine: Whether good kinds are averaged, the better the more; if not, the best alone predicts.
    """
    models = _models(seed, layout, kinds)
    left_out = {name: np.zeros(len(targets)) for name in models}
    fitted: dict[str, list[Any]] = {name: [] for name in models}
    for train, test in KFold(min(_FOLDS, len(targets)), shuffle=True, random_state=seed).split(features):
        for name, build in models.items():
            model = build().fit(features[train], targets[train])
            left_out[name][test] = model.predict(features[test])
            fitted[name].append(model)
    shares = _shares({n: float(np.abs(_relative(found, targets)).mean()) for n, found in left_out.items()})
    if not combine:
        shares = {next(iter(shares)): 1.0}
    weights = list(shares.values())
    combined = np.average([left_out[n] for n in shares], axis=0, weights=weights)
    return FittedPredictor(
        name=" + ".join(n for n, share in shares.items() if share >= min(_NAMED, weights[0])),
        num_training=len(targets),
        spread=float(np.sqrt(np.mean(_relative(combined, targets) ** 2))),
        _model=_Mean([models[n]().fit(features, targets) for n in shares], weights),
        _folds=tuple(_Mean(of_fold, weights) for of_fold in zip(*(fitted[n] for n in shares), strict=True)),
    )


def _relative(predicted: np.ndarray, targets: np.ndarray) -> np.ndarray:
    return (predicted - targets) / np.maximum(np.abs(targets), 1e-12)


def _shares(errors: Mapping[str, float]) -> dict[str, float]:
    """How much each kind counts, the best first: a kind that errs by a fifth more than another counts half as much.

    The best alone would be a lottery where several are nearly as good, and kinds that err in different ways mend each
    other. Those that would hardly count are left out.
    """
    low = max(min(errors.values()), 1e-12)
    raw = {n: (low / max(e, low)) ** 4 for n, e in sorted(errors.items(), key=lambda item: item[1])}
    kept = {n: share for n, share in raw.items() if share >= _LEAST}
    return {n: share / sum(kept.values()) for n, share in kept.items()}


def predict_left_out(
    features: np.ndarray,
    targets: np.ndarray,
    *,
    seed: int,
    layout: FeatureLayout | None = None,
    kinds: Sequence[str] | None = None,
    combine: bool = True,
    folds: int = 5,
) -> np.ndarray:
    """Predictions (n,) of every sample by a predictor that was neither fitted nor chosen with it."""
    held_out = np.zeros(len(targets))
    for train, test in KFold(min(folds, len(targets)), shuffle=True, random_state=seed).split(features):
        fitted = fit_predictor(features[train], targets[train], seed=seed, layout=layout, kinds=kinds, combine=combine)
        held_out[test] = fitted.predict(features[test])
    return held_out
