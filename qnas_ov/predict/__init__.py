"""Predictors of expensive objectives, fitted from measurements, with honest scores."""

from qnas_ov.predict._active import choose_informative
from qnas_ov.predict._damage import UnitDamage
from qnas_ov.predict._features import Damage, FeatureLayout, FeatureMap, Prior
from qnas_ov.predict._gaussian import FeatureGroup, GaussianProcess
from qnas_ov.predict._linear import RelativeRidge
from qnas_ov.predict._margins import MarginSurrogate
from qnas_ov.predict._predictors import PUBLISHED_KINDS, FittedPredictor, Scores, fit_predictor, predict_left_out, score
from qnas_ov.predict._surrogate import Surrogate, Weights, cost_groups
from qnas_ov.predict._table import LookUpTable, UnitTimes, table_genotypes
from qnas_ov.predict._units import UnitUse, UnitWork

__all__ = [
    "PUBLISHED_KINDS",
    "Damage",
    "FeatureGroup",
    "FeatureLayout",
    "FeatureMap",
    "FittedPredictor",
    "GaussianProcess",
    "LookUpTable",
    "MarginSurrogate",
    "Prior",
    "RelativeRidge",
    "Scores",
    "Surrogate",
    "UnitDamage",
    "UnitTimes",
    "UnitUse",
    "UnitWork",
    "Weights",
    "choose_informative",
    "cost_groups",
    "fit_predictor",
    "predict_left_out",
    "score",
    "table_genotypes",
]
