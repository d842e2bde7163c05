"""What qnas predicts a measured quantity by."""

from __future__ import annotations

import numpy as np

from qnas_ov.predict import GaussianProcess


class Surrogate:
    """A Gaussian process of one quantity: of its logarithm where it is positive, over what is known of it before.

    Attributes:
        process: The Gaussian process.
    """

    def __init__(self, process: GaussianProcess, *, logarithmic: bool, prior: bool, helper: Surrogate | None) -> None:
        """Makes it.

        Args:
            process: Of the features, and of one column more where there is a helper.
            logarithmic: Whether the logarithm is modelled.
            prior: Whether the last column of the features is a prediction, of which the rest is modelled.
            helper: What predicts a finer measure of the same, which is a feature too.
        """
        self.process = process
        self._logarithmic = logarithmic
        self._prior = prior
        self._helper = helper

    def fit(self, features: np.ndarray, targets: np.ndarray, *, start: np.ndarray | None) -> Surrogate:
        """Fits features (n, num_features) to targets (n,); `start` are the weights of an earlier fit."""
        known = None if self._helper is None else self._helper.process.leave_one_out()
        values = np.log(targets) if self._logarithmic else targets
        self.process.fit(self._extended(features, known), values - self._before(features), start=start)
        return self

    def _before(self, features: np.ndarray) -> np.ndarray | float:
        """The logarithm of the prior, 0 without one."""
        return np.log(np.maximum(features[:, -1], 1e-12)) if self._prior and self._logarithmic else 0.0

    def _extended(self, features: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
        """The features, and what the helper predicts: of measured samples without knowing theirs."""
        if self._helper is None:
            return features
        helping = known if known is not None else self._helper.process.predict_mean(self._helper._extended(features))
        return np.column_stack([features, helping])

    def _outward(self, values: np.ndarray, features: np.ndarray) -> np.ndarray:
        total = values + self._before(features)
        return np.exp(total) if self._logarithmic else total

    def predict(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predictions and their standard errors: two arrays (n,)."""
        mean, error = self.process.predict(self._extended(features))
        outward = self._outward(mean, features)
        return outward, outward * error if self._logarithmic else error

    def predict_mean(self, features: np.ndarray) -> np.ndarray:
        """Predictions alone (n,), which is faster."""
        return self._outward(self.process.predict_mean(self._extended(features)), features)

    def sample(self, features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A function drawn from what is possible, at features (n, num_features): (n,)."""
        return self._outward(self.process.sample(self._extended(features), rng, 1)[0], features)
