"""Predictors of expensive objectives, fitted from measurements, with honest scores."""

from qnas_ov.predict._features import FeatureMap
from qnas_ov.predict._predictors import FittedPredictor, Scores, fit_predictor, score

__all__ = ["FeatureMap", "FittedPredictor", "Scores", "fit_predictor", "score"]
