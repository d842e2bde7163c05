"""Predictors by scikit-learn: ridge, support vectors and boosted trees, chosen by cross-validation.

Every score is of samples that the scored model has not seen: choosing among models happens inside each fold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import kendalltau
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import RidgeCV
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


def _models(seed: int) -> dict[str, Callable[[], Any]]:
    def scaled(estimator: Any) -> Any:
        inner = make_pipeline(StandardScaler(), estimator)
        return TransformedTargetRegressor(inner, transformer=StandardScaler())

    return {
        "ridge": lambda: scaled(RidgeCV(alphas=np.logspace(-1, 4, 16))),
        "svr": lambda: scaled(SVR(kernel="rbf", C=10.0, epsilon=0.02, gamma=0.003)),
        "gradient_boosting": lambda: GradientBoostingRegressor(
            n_estimators=150, max_depth=3, learning_rate=0.08, subsample=0.8, max_features=0.3, random_state=seed
        ),
    }


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


def fit_predictor(features: np.ndarray, targets: np.ndarray, *, seed: int) -> FittedPredictor:
    """Chooses among the kinds of model by cross-validated absolute error and fits the best on all samples.

    Args:
        features: Float array (n, num_features).
        targets: Measured values (n,).
        seed: Seed of the folds and of the boosted trees.
    """
    kinds = _models(seed)
    name = _choose(kinds, features, targets, seed=seed)
    return FittedPredictor(name, len(targets), kinds[name]().fit(features, targets))


def predict_left_out(features: np.ndarray, targets: np.ndarray, *, seed: int, folds: int = 5) -> np.ndarray:
    """Predictions (n,) of every sample by a predictor that was neither fitted nor chosen with it."""
    held_out = np.zeros(len(targets))
    for train, test in KFold(min(folds, len(targets)), shuffle=True, random_state=seed).split(features):
        held_out[test] = fit_predictor(features[train], targets[train], seed=seed).predict(features[test])
    return held_out


def _choose(kinds: dict[str, Callable[[], Any]], features: np.ndarray, targets: np.ndarray, *, seed: int) -> str:
    errors = dict.fromkeys(kinds, 0.0)
    for train, test in KFold(min(3, len(targets)), shuffle=True, random_state=seed).split(features):
        for name, build in kinds.items():
            predicted = build().fit(features[train], targets[train]).predict(features[test])
            errors[name] += float(np.abs(predicted - targets[test]).sum())
    return min(errors, key=lambda name: errors[name])
