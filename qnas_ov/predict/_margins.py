"""How many samples a network gets right, predicted from how clear its answers are.

Accuracy on few samples is coarse, and which of two networks is ahead is often a matter of one of them. The margins of
the answers are not coarse: each moves smoothly with the genes, and the samples that a network is about to get right or
wrong are seen to come. One Gaussian process has the margins on all samples as targets; of its predictions follows how
likely each answer is right, and how many are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr

from qnas_ov.predict._gaussian import FeatureGroup, GaussianProcess
from qnas_ov.predict._surrogate import Weights

CLEAR = 0.5
_FORM = (False, False)


class MarginSurrogate:
    """Predicts the share of right answers, as `Surrogate` does a quantity."""

    name = "gaussian process of margins"

    def __init__(self, groups: Sequence[FeatureGroup], *, joint: Sequence[FeatureGroup] = ()) -> None:
        """Makes it, of groups as a `GaussianProcess` has them."""
        self._groups, self._joint = list(groups), list(joint)
        self.weights: Weights = {}

    def fit(
        self, features: np.ndarray, margins: Sequence[np.ndarray], *, start: Weights | None = None
    ) -> MarginSurrogate:
        """Fits features (n, num_features) to margins.

        Args:
            features: Of the networks.
            margins: Per network those of its answers, from -1 to 1, positive where they are right: (num_samples,).
                Networks that were judged on the first samples only have so many; at least one has all.
            start: The `weights` of an earlier one.
        """
        counts = np.array([len(m) for m in margins])
        self._num_samples = int(counts.max())
        whole = counts == self._num_samples
        known = np.stack([m for m, full in zip(margins, whole, strict=True) if full])
        doubtful = _doubtful(known)
        self._right = int((known[0, ~doubtful] > 0).sum())
        targets = known[:, doubtful]
        self._process = self._new().fit(features[whole], targets, start=(start or {}).get(_FORM))
        if not whole.all():
            targets = _filled(self._process.predict_mean(features), margins, np.flatnonzero(doubtful))
            self._process = self._new().fit(features, targets, start=self._process.log_weights)
        left_out, error = self._process.leave_one_out()
        self._own = np.sqrt((((targets - left_out) / error[:, None]) ** 2).mean(axis=0))
        self._left_out = self._share(self._likely(left_out, error))
        self.weights = {_FORM: self._process.log_weights}
        return self

    def _new(self) -> GaussianProcess:
        return GaussianProcess(self._groups, joint=self._joint)

    def _likely(self, margins: np.ndarray, error: np.ndarray) -> np.ndarray:
        """How likely answers are right (n, num_doubtful): errors (n,) differ by sample as those left out do."""
        return np.asarray(ndtr(margins / np.maximum(error[:, None] * self._own, 1e-9)))

    def _share(self, likely: np.ndarray) -> np.ndarray:
        return np.asarray((likely.sum(axis=1) + self._right) / self._num_samples)

    def leave_one_out(self) -> np.ndarray:
        """Predictions (n,) of each network from all others."""
        return self._left_out

    def predict(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predictions and their standard errors: two arrays (n,)."""
        margins, error = self._process.predict(features)
        likely = self._likely(margins, np.hypot(error, self._process.noise))
        spread = np.sqrt((likely * (1 - likely)).sum(axis=1)) / self._num_samples
        return self._share(likely), spread

    def predict_mean(self, features: np.ndarray) -> np.ndarray:
        """Predictions alone (n,)."""
        return self.predict(features)[0]

    def sample(self, features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A function drawn from what is possible, at features (n, num_features): (n,)."""
        means = self._process.predict_mean(features)
        drawn = self._process.sample(features, rng, noisy=True)
        return self._share(means + (drawn - means) * self._own > 0)


def _doubtful(margins: np.ndarray) -> np.ndarray:
    """Samples that some networks (n, num_samples) get right and others wrong, or some are less than `CLEAR` on.

    The others are taken for the same under every network. The least clear one counts, so that there is one.
    """
    found = (np.abs(margins) < CLEAR).any(axis=0) | (margins > 0).any(axis=0) & (margins <= 0).any(axis=0)
    found[np.abs(margins).min(axis=0).argmin()] = True
    return np.asarray(found)


def _filled(predicted: np.ndarray, margins: Sequence[np.ndarray], samples: np.ndarray) -> np.ndarray:
    """What is known of the margins on some samples, and else what is predicted (n, len(samples)).

    That what is unknown is as predicted moves no prediction; what is known of the others does.
    """
    found = predicted.copy()
    for row, known in zip(found, margins, strict=True):
        here = samples < len(known)
        row[here] = known[samples[here]]
    return found
