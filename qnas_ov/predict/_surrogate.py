"""A Gaussian process of a measured quantity, in the form that suits it best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qnas_ov.predict._features import FeatureLayout
from qnas_ov.predict._gaussian import FeatureGroup, GaussianProcess

Weights = dict[tuple[bool, bool], np.ndarray]


def cost_groups(layout: FeatureLayout, *, use_summary: bool = True) -> list[FeatureGroup]:
    """What a cost is predicted from: computed costs and genes, and the work of units, which adds up."""
    return [
        FeatureGroup("costs", tuple(range(layout.num_summary if use_summary else 0)), radial=True),
        FeatureGroup("genes", tuple(range(layout.genes.start, layout.genes.stop)), radial=True),
        FeatureGroup("work of units", tuple(range(layout.use.start, layout.use.stop))),
    ]


@dataclass(frozen=True)
class _Form:
    """How a quantity enters: as it is or by its logarithm, alone or over a prior; and the process of that."""

    logarithmic: bool
    prior: bool
    process: GaussianProcess


class Surrogate:
    """A Gaussian process of one quantity, in the form that predicts left-out samples best.

    It may be of the quantity or, where that is positive, of its logarithm; and of what a prior leaves over. A helper
    predicts a finer measure of the same, and its prediction is a feature.
    """

    def __init__(
        self,
        groups: Sequence[FeatureGroup],
        *,
        joint: Sequence[FeatureGroup] = (),
        prior: bool,
        helper: Surrogate | None,
    ) -> None:
        """Makes it.

        Args:
            groups: Of the features, and of one column more where there is a helper.
            joint: Groups that enter together, each with its own relevance.
            prior: Whether the last column of the features is a prediction.
            helper: What predicts the finer measure.
        """
        self._groups = list(groups)
        self._joint = list(joint)
        self._with_prior = prior
        self._helper = helper
        self._form: _Form | None = None
        self.weights: Weights = {}

    def fit(self, features: np.ndarray, targets: np.ndarray, *, start: Weights | None = None) -> Surrogate:
        """Fits features (n, num_features) to targets (n,); `start` are the `weights` of an earlier one."""
        known = None if self._helper is None else self._helper.leave_one_out()
        extended = self._extended(features, known)
        forms = [(False, False)]
        if (targets > 0).all():
            forms += [(True, False), *([(True, True)] if self._with_prior else [])]
        errors = []
        fitted = []
        for logarithmic, prior in forms:
            values = np.log(targets) if logarithmic else targets
            process = GaussianProcess(self._groups, joint=self._joint)
            first = (start or {}).get((logarithmic, prior))
            process.fit(extended, values - _before(features, prior), start=first)
            fitted.append(_Form(logarithmic, prior, process))
            self.weights[logarithmic, prior] = process.log_weights
            left_out = _outward(fitted[-1], process.leave_one_out()[0], features)
            errors.append(float(np.abs(left_out - targets).mean()))
        self._form = fitted[int(np.argmin(errors))]
        self._left_out = _outward(self._form, self._form.process.leave_one_out()[0], features)
        return self

    @property
    def form(self) -> _Form:
        """The form that was chosen."""
        assert self._form is not None, "fit it first"
        return self._form

    @property
    def name(self) -> str:
        """What it is, in words."""
        words = ["gaussian process", *(["of the logarithm"] if self.form.logarithmic else [])]
        return " ".join([*words, *(["over the prior"] if self.form.prior else [])])

    def leave_one_out(self) -> np.ndarray:
        """Predictions (n,) of each sample from all others."""
        return self._left_out

    def _extended(self, features: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
        """The features, and what the helper predicts: of measured samples without knowing theirs."""
        if self._helper is None:
            return features
        return np.column_stack([features, known if known is not None else self._helper.predict_mean(features)])

    def predict(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predictions and their standard errors: two arrays (n,)."""
        mean, error = self.form.process.predict(self._extended(features))
        outward = _outward(self.form, mean, features)
        return outward, outward * error if self.form.logarithmic else error

    def predict_mean(self, features: np.ndarray) -> np.ndarray:
        """Predictions alone (n,), which is faster."""
        return _outward(self.form, self.form.process.predict_mean(self._extended(features)), features)

    def sample(self, features: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A function drawn from what is possible, at features (n, num_features): (n,)."""
        return _outward(self.form, self.form.process.sample(self._extended(features), rng), features)


def _before(features: np.ndarray, prior: bool) -> np.ndarray | float:
    """The logarithm of the prior, 0 without one."""
    return np.log(np.maximum(features[:, -1], 1e-12)) if prior else 0.0


def _outward(form: _Form, values: np.ndarray, features: np.ndarray) -> np.ndarray:
    total = values + _before(features, form.prior)
    return np.exp(total) if form.logarithmic else total
