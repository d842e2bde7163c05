"""Gaussian processes whose covariance is a sum over groups of features, with the share of each group learnt.

A group enters by a linear kernel (effects that add up, as those of genes do) and, where asked for, by radial ones (what
does not add up). Further groups enter by one Matern kernel of them all, in which the relevance of each is learnt: how
fast the target changes along it. Weights and relevances maximise the marginal likelihood. Source: C. Rasmussen and C.
Williams, Gaussian Processes for Machine Learning (2006), sections 2.2, 4.2, 5.1 and 5.4.1; leave-one-out predictions
5.4.2. Many quantities may share a covariance, so that all of them tell what matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve, cholesky
from scipy.optimize import minimize

_JITTER = 1e-8
_PRIOR_SPREAD = 3.0  # of the logarithm of a weight: far from any measurement it keeps weights finite
_LOWEST, _HIGHEST = np.log(1e-7), np.log(1e4)


@dataclass(frozen=True)
class FeatureGroup:
    """Columns that share a kernel.

    Attributes:
        name: For what is told of it.
        columns: Which columns of the features.
        radial: Whether it enters by a radial kernel too.
    """

    name: str
    columns: tuple[int, ...]
    radial: bool = False


class GaussianProcess:
    """A regression with uncertainty, of few samples on many features."""

    def __init__(self, groups: Sequence[FeatureGroup], *, joint: Sequence[FeatureGroup] = ()) -> None:
        """Makes it.

        Args:
            groups: What enters by kernels of its own.
            joint: What enters together, each group with a relevance.
        """
        self._groups = [g for g in groups if g.columns]
        self._joint = [g for g in joint if g.columns]
        self.log_weights = np.zeros(0)

    @property
    def names(self) -> list[str]:
        """What each of `log_weights` belongs to: kernels, the noise, the joint kernel and the relevances in it."""
        joint = ["joint", *(f"{g.name} relevance" for g in self._joint)] if self._joint else []
        return [*(f"{name} {kind}" for _, name, kind in self._kernels()), "noise", *joint]

    def _kernels(self) -> list[tuple[FeatureGroup, str, str]]:
        found = []
        for group in self._groups:
            found.append((group, group.name, "linear"))
            if group.radial:
                found.append((group, group.name, "radial"))
        return found

    def fit(self, features: np.ndarray, targets: np.ndarray, *, start: np.ndarray | None = None) -> GaussianProcess:
        """Learns the weights.

        Args:
            features: (n, num_features).
            targets: (n,), or (n, num_targets) of quantities that share weights, a unit, and nothing else. They count
                as so many as vary on their own.
            start: `log_weights` of an earlier fit, from which it is faster.
        """
        self._middle, spread = features.mean(axis=0), features.std(axis=0)
        self._spread = np.where(spread > 1e-12, spread, 1.0)
        self._shape = targets.shape[1:]
        columns = targets.reshape(len(targets), -1)
        self._offset, self._scale = columns.mean(axis=0), float(np.sqrt(columns.var(axis=0).mean())) or 1.0
        self._rows = self._scaled(features)
        self._lengths = [self._median_distance(g) for g in self._groups]
        y = (columns - self._offset) / self._scale
        y_few, count = _condensed(y)
        grams, distances = self._grams(self._rows, self._rows), self._distances(self._rows, self._rows)
        self._centre = self._first_guess(distances)
        best = minimize(
            self._cost,
            self._centre if start is None or len(start) != len(self._centre) else start,
            args=(grams, distances, y_few, count),
            jac=True,
            method="L-BFGS-B",
            bounds=[(_LOWEST, _HIGHEST)] * len(self._centre),
            options={"maxiter": 40},
        )
        self.log_weights = np.asarray(best.x)
        noise = np.exp(self.log_weights[self._noise]) + _JITTER
        covariance = self._combine(self.log_weights, grams, distances) + noise * np.eye(len(y))
        self._factor = cho_factor(covariance, lower=True)
        self._alpha = cho_solve(self._factor, y)
        self._targets = y
        return self

    @property
    def _noise(self) -> int:
        """The place of the noise among the weights."""
        return len(self._kernels())

    def _first_guess(self, distances: np.ndarray) -> np.ndarray:
        """Logarithms of equal weights, a little noise, and relevances under which half of all pairs are related."""
        count = self._noise + bool(self._joint)
        kernels = np.log(np.full(self._noise, 1.0 / (count + 1)))
        if not self._joint:
            return np.append(kernels, np.log(0.05))
        typical = np.array([max(float(np.median(d[d > 1e-12])) if (d > 1e-12).any() else 1.0, 1e-6) for d in distances])
        return np.array([*kernels, np.log(0.05), np.log(1.0 / (count + 1)), *-np.log(typical * len(typical))])

    def _scaled(self, features: np.ndarray) -> np.ndarray:
        return (features - self._middle) / self._spread

    def _median_distance(self, group: FeatureGroup) -> float:
        rows = self._rows[:, group.columns]
        squared = _squared_distances(rows, rows)
        far = squared[squared > 1e-12]
        return float(np.median(far)) if len(far) else 1.0

    def _grams(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Kernel matrices of scaled rows (n, f) and (m, f): (num_kernels, n, m)."""
        found = []
        for group, length in zip(self._groups, self._lengths, strict=True):
            x, z = a[:, group.columns], b[:, group.columns]
            found.append(x @ z.T / len(group.columns))
            if group.radial:
                found.append(np.exp(-_squared_distances(x, z) / length))
        return np.stack(found) if found else np.zeros((0, len(a), len(b)))

    def _distances(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Squared distances of scaled rows (n, f) and (m, f) within each joint group: (num_joint, n, m)."""
        found = [_squared_distances(a[:, g.columns], b[:, g.columns]) for g in self._joint]
        return np.stack(found) if found else np.zeros((0, len(a), len(b)))

    def _combine(self, theta: np.ndarray, grams: np.ndarray, distances: np.ndarray) -> np.ndarray:
        """The covariance without noise."""
        total = np.tensordot(np.exp(theta[: self._noise]), grams, 1)
        if self._joint:
            total = total + np.exp(theta[self._noise + 1]) * _matern(self._squared(theta, distances))[0]
        return np.asarray(total)

    def _squared(self, theta: np.ndarray, distances: np.ndarray) -> np.ndarray:
        return np.asarray(np.tensordot(np.exp(theta[self._noise + 2 :]), distances, 1))

    def _cost(
        self, theta: np.ndarray, grams: np.ndarray, distances: np.ndarray, y: np.ndarray, count: float
    ) -> tuple[float, np.ndarray]:
        """Negative log marginal likelihood of `_condensed` targets with a wide prior on the weights; its gradient."""
        weights, noise = np.exp(theta), self._noise
        covariance = self._combine(theta, grams, distances) + (weights[noise] + _JITTER) * np.eye(len(y))
        factor = cho_factor(covariance, lower=True)
        alpha = cho_solve(factor, y)
        inverse = cho_solve(factor, np.eye(len(y)))
        value = 0.5 * float(np.sum(y * alpha)) + count * float(np.log(np.diag(factor[0])).sum())
        inner = count * inverse - alpha @ alpha.T
        slopes = np.append(np.tensordot(grams, inner, 2), np.trace(inner))
        if self._joint:
            related, slope = _matern(self._squared(theta, distances))
            along = weights[noise + 1] * np.tensordot(distances, inner * slope, 2)
            slopes = np.concatenate([slopes, [np.sum(related * inner)], along])
        gradient = slopes * weights * 0.5
        away = (theta - self._centre) / _PRIOR_SPREAD
        return value + 0.5 * float(away @ away), gradient + away / _PRIOR_SPREAD

    def predict(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means (n,) or (n, num_targets), and standard errors without the noise of a measurement, (n,)."""
        mean, cross = self._mean(features)
        weights = np.exp(self.log_weights)
        rows = self._scaled(features)
        own = np.full(len(rows), weights[self._noise + 1] if self._joint else 0.0)
        i = 0
        for group in self._groups:
            own += weights[i] * (rows[:, group.columns] ** 2).sum(axis=1) / len(group.columns)
            i += 1
            if group.radial:
                own += weights[i]
                i += 1
        reduced = own - np.einsum("ij,ji->i", cross, cho_solve(self._factor, cross.T))
        return mean, np.sqrt(np.maximum(reduced, 0.0)) * self._scale

    def predict_mean(self, features: np.ndarray) -> np.ndarray:
        """Means alone (n,) or (n, num_targets), which is faster."""
        return self._mean(features)[0]

    def _mean(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        cross = self._covariance(self._scaled(features), self._rows)
        return self._outward(cross @ self._alpha), cross

    def _outward(self, values: np.ndarray) -> np.ndarray:
        """Scaled values (n, num_targets) in the unit and the shape of the targets."""
        return np.asarray(self._offset + self._scale * values).reshape(len(values), *self._shape)

    def _covariance(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """What was learnt of scaled rows (n, f) and (m, f): (n, m)."""
        return self._combine(self.log_weights, self._grams(a, b), self._distances(a, b))

    def sample(self, features: np.ndarray, rng: np.random.Generator, *, noisy: bool = False) -> np.ndarray:
        """Draws a function, of every target, from the posterior at features (n, num_features).

        Args:
            features: Where.
            rng: What draws.
            noisy: Whether each value gets the noise of a measurement too.

        Returns:
            (n,) or (n, num_targets).
        """
        mean, cross = self._mean(features)
        rows = self._scaled(features)
        covariance = self._covariance(rows, rows) - cross @ cho_solve(self._factor, cross.T)
        size = max(float(np.diag(covariance).max()), _JITTER)
        added = 1e-6 * size + (np.exp(self.log_weights[self._noise]) if noisy else 0.0)
        lower = cholesky(covariance + added * np.eye(len(rows)), lower=True)
        drawn = lower @ rng.standard_normal((len(rows), len(self._offset)))
        return mean + self._scale * drawn.reshape(mean.shape)

    @property
    def noise(self) -> float:
        """The standard error of a measurement."""
        return float(np.exp(0.5 * self.log_weights[self._noise])) * self._scale

    def leave_one_out(self) -> tuple[np.ndarray, np.ndarray]:
        """Predictions of each sample from all others, under the weights that were learnt from all.

        Returns:
            Means (n,) or (n, num_targets), and standard errors with the noise of a measurement, (n,).
        """
        precision = np.diag(cho_solve(self._factor, np.eye(len(self._targets))))
        mean = self._outward(self._targets - self._alpha / precision[:, None])
        return mean, self._scale / np.sqrt(precision)


def _condensed(y: np.ndarray) -> tuple[np.ndarray, float]:
    """At most n columns with the products of rows (n, num_targets), and how many independent targets they count as.

    That is the participation ratio of the singular values, 1 for a single target.
    """
    if y.shape[1] == 1:
        return y, 1.0
    left, sizes, _ = np.linalg.svd(y, full_matrices=False)
    count = float(sizes.sum() ** 2 / max((sizes**2).sum(), 1e-12))
    return left * sizes * np.sqrt(count / y.shape[1]), count


def _matern(squared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The Matern kernel of smoothness 5/2 for squared distances, and its derivative by them."""
    root = np.sqrt(5.0 * squared)
    decay = np.exp(-root)
    return (1.0 + root + root**2 / 3.0) * decay, -5.0 / 6.0 * (1.0 + root) * decay


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2 * a @ b.T
    return np.asarray(np.maximum(squared, 0.0))
