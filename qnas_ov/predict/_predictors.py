"""Predictors by scikit-learn: linear, support vectors and boosted trees, chosen by cross-validation.

Every score is of samples that the scored model has not seen: choosing among models happens inside each fold.
"""

from __future__ import annotations

from collections.abc import Callable
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


@dataclass(frozen=True)
class Scores:
    """How well predictions meet measurements.

    Attributes:
        mape: Mean absolute error as a share of the measured value (0.05 is 5%).
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
    mape = float(np.mean(np.abs(predicted - measured) / np.maximum(np.abs(measured), 1e-12)))
    return Scores(mape, float(tau) if np.isfinite(tau) else 0.0, len(measured))


def _scaled(estimator: Any) -> Any:
    return TransformedTargetRegressor(make_pipeline(StandardScaler(), estimator), transformer=StandardScaler())


def _on_summary(estimator: Any, num_summary: int) -> Any:
    """The estimator on the first columns only: with few samples, few features; latency is nearly linear in them."""
    first = ColumnTransformer([("summary", "passthrough", slice(0, num_summary))])
    inner = make_pipeline(first, StandardScaler(), estimator)
    return TransformedTargetRegressor(inner, transformer=StandardScaler())


def _models(seed: int, num_summary: int) -> dict[str, Callable[[], Any]]:
    kinds: dict[str, Callable[[], Any]] = {
        "ridge": lambda: _scaled(RidgeCV(alphas=np.logspace(-1, 4, 16))),
        "svr": lambda: _scaled(SVR(kernel="rbf", C=10.0, epsilon=0.02, gamma=0.003)),
        "gradient_boosting": lambda: GradientBoostingRegressor(
            n_estimators=150, max_depth=3, learning_rate=0.08, subsample=0.8, max_features=0.3, random_state=seed
        ),
    }
    if num_summary:
        kinds |= {
            "ridge on costs": lambda: _on_summary(RidgeCV(alphas=np.logspace(-2, 4, 20)), num_summary),
            "huber on costs": lambda: _on_summary(HuberRegressor(alpha=0.1, max_iter=1000), num_summary),
            "svr on costs": lambda: _on_summary(SVR(C=10.0, epsilon=0.05, gamma=0.02), num_summary),
        }
    return kinds


@dataclass(frozen=True)
class FittedPredictor:
    """A predictor of one objective, fitted on all samples.

    Attributes:
        name: Which kind was chosen.
        num_training: Samples that it was fitted on.
    """

    name: str
    num_training: int
    _model: Any

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Predictions (n,) for features (n, num_features)."""
        return np.asarray(self._model.predict(features), dtype=np.float64)


def fit_predictor(features: np.ndarray, targets: np.ndarray, *, seed: int, num_summary: int = 0) -> FittedPredictor:
    """Chooses among the kinds of model by cross-validated absolute error and fits the best on all samples.

    Args:
        features: Float array (n, num_features).
        targets: Measured values (n,).
        seed: Seed of the folds and of the boosted trees.
        num_summary: How many of the first features summarise costs; models on these alone compete too. 0 for none.
    """
    kinds = _models(seed, num_summary)
    name = _choose(kinds, features, targets, seed=seed)
    return FittedPredictor(name, len(targets), kinds[name]().fit(features, targets))


def predict_left_out(
    features: np.ndarray, targets: np.ndarray, *, seed: int, num_summary: int = 0, folds: int = 5
) -> np.ndarray:
    """Predictions (n,) of every sample by a predictor that was neither fitted nor chosen with it."""
    held_out = np.zeros(len(targets))
    for train, test in KFold(min(folds, len(targets)), shuffle=True, random_state=seed).split(features):
        fitted = fit_predictor(features[train], targets[train], seed=seed, num_summary=num_summary)
        held_out[test] = fitted.predict(features[test])
    return held_out


def _choose(kinds: dict[str, Callable[[], Any]], features: np.ndarray, targets: np.ndarray, *, seed: int) -> str:
    errors = dict.fromkeys(kinds, 0.0)
    for train, test in KFold(min(3, len(targets)), shuffle=True, random_state=seed).split(features):
        for name, build in kinds.items():
            predicted = build().fit(features[train], targets[train]).predict(features[test])
            errors[name] += float(np.abs(predicted - targets[test]).sum())
    return min(errors, key=lambda name: errors[name])
