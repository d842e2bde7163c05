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
_FEWEST, _ROWS = 3, 1024
_EARLY, _LATE = (False, False), (False, True)


class MarginSurrogate:
    """Predicts the share of right answers, as `Surrogate` does a quantity.

    Where some networks were judged on the first samples only, what these tell of the others is learnt from the networks
    that were judged on all.
    """

    name = "gaussian process of margins"

    def __init__(self, groups: Sequence[FeatureGroup], *, joint: Sequence[FeatureGroup] = ()) -> None:
        """Makes it, of groups as a `GaussianProcess` has them."""
        self._groups, self._joint = list(groups), list(joint)
        self._late: _Block | None = None
        self.weights: Weights = {}

    def fit(
        self, features: np.ndarray, margins: Sequence[np.ndarray], *, start: Weights | None = None
    ) -> MarginSurrogate:
        """Fits features (n, num_features) to margins.

        Args:
            features: Of the networks.
            margins: Per network those of its answers, from -1 to 1, positive where they are right: (num_samples,), of
                all samples or of the first ones. Those that fewer than three networks know do not count.
            start: The `weights` of an earlier one.
        """
        start = start or {}
        counts = np.array([len(m) for m in margins])
        first, whole = int(counts.min()), np.flatnonzero(counts == counts.max())
        early = np.stack([m[:first] for m in margins])
        self._early = _Block(self._groups, self._joint).fit(features, early, clear=CLEAR, start=start.get(_EARLY))
        self.weights = {_EARLY: self._early.process.log_weights}
        self._num_samples = first
        self._left_out = self._early.left_out_right
        if first < counts.max() and len(whole) >= _FEWEST:
            groups = [*self._groups, FeatureGroup("early margins", (features.shape[1],), radial=True)]
            rows = np.column_stack([features, self._early.left_out_mean])
            late = np.stack([m[first:] for m in margins if len(m) == counts.max()])
            # What is clear to these may not be clear to the others, which are the worse ones.
            self._late = _Block(groups, self._joint).fit(rows[whole], late, clear=1.0, start=start.get(_LATE))
            self.weights[_LATE] = self._late.process.log_weights
            self._num_samples = int(counts.max())
            right, _ = self._late.right(rows)
            right[whole] = self._late.left_out_right
            self._left_out = self._left_out + right
        return self

    def leave_one_out(self) -> np.ndarray:
        """Predictions (n,) of each network from all others."""
        return self._left_out / self._num_samples

    def predict(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predictions and their standard errors: two arrays (n,)."""
        found = np.zeros((2, len(features)))
        for i in range(0, len(features), _ROWS):
            found[:, i : i + _ROWS] = self._predict(features[i : i + _ROWS])
        right, variance = found
        return right / self._num_samples, np.sqrt(variance) / self._num_samples

    def _predict(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How many samples are right, and the variance of that: two arrays (n,)."""
        right, variance = self._early.right(features)
        if self._late is not None:
            more, its = self._late.right(self._extended(features))
            right, variance = right + more, variance + its
        return right, variance

    def _extended(self, features: np.ndarray) -> np.ndarray:
        return np.column_stack([features, self._early.mean(features)])

    def predict_mean(self, features: np.ndarray) -> np.ndarray:
        """Predictions alone (n,)."""
        return self.predict(features)[0]

    def sample(self, features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A function drawn from what is possible, at features (n, num_features): (n,)."""
        right = self._early.sample(features, rng)
        if self._late is not None:
            right = right + self._late.sample(self._extended(features), rng)
        return right / self._num_samples


class _Block:
    """The margins on some samples, of networks that all know them."""

    def __init__(self, groups: Sequence[FeatureGroup], joint: Sequence[FeatureGroup]) -> None:
        self.process = GaussianProcess(groups, joint=joint)

    def fit(self, features: np.ndarray, margins: np.ndarray, *, clear: float, start: np.ndarray | None) -> _Block:
        """Fits features (n, num_features) to margins (n, num_samples).

        Samples on which all networks are right, or all wrong, by at least `clear` are taken for the same under every
        network. The least clear one is never, so that there is a target.
        """
        doubtful = (np.abs(margins) < clear).any(axis=0) | (margins > 0).any(axis=0) & (margins <= 0).any(axis=0)
        doubtful[np.abs(margins).min(axis=0).argmin()] = True
        self._right = int((margins[0, ~doubtful] > 0).sum())
        targets = margins[:, doubtful]
        self.process.fit(features, targets, start=start)
        left_out, error = self.process.leave_one_out()
        self._own = np.sqrt((((targets - left_out) / error[:, None]) ** 2).mean(axis=0))
        self.left_out_mean = left_out.mean(axis=1)
        self.left_out_right = self._likely(left_out, error).sum(axis=1) + self._right
        return self

    def _likely(self, margins: np.ndarray, error: np.ndarray) -> np.ndarray:
        """How likely answers are right (n, num_doubtful): errors (n,) differ by sample as those left out do."""
        return np.asarray(ndtr(margins / np.maximum(error[:, None] * self._own, 1e-9)))

    def mean(self, features: np.ndarray) -> np.ndarray:
        """Predicted margins at features (n, num_features), their mean over the doubtful samples: (n,)."""
        return self.process.predict_mean(features).mean(axis=1)

    def right(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How many samples are right, and the variance of that: two arrays (n,)."""
        margins, error = self.process.predict(features)
        likely = self._likely(margins, np.hypot(error, self.process.noise))
        return likely.sum(axis=1) + self._right, (likely * (1 - likely)).sum(axis=1)

    def sample(self, features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Numbers of right samples (n,), drawn."""
        means = self.process.predict_mean(features)
        drawn = self.process.sample(features, rng, noisy=True)
        return np.asarray((means + (drawn - means) * self._own > 0).sum(axis=1) + self._right)
