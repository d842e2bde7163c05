"""Predictors of expensive objectives, fitted from measurements, with honest scores."""

from qnas_ov.predict._features import FeatureMap
from qnas_ov.predict._predictors import FittedPredictor, Scores, fit_predictor, predict_left_out, score

__all__ = ["FeatureMap", "FittedPredictor", "Scores", "fit_predictor", "predict_left_out", "score"]
