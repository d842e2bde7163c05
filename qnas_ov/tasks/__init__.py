"""Data sets, preprocessing and metrics."""

from qnas_ov.tasks import digits as digits
from qnas_ov.tasks.base import (
    AGREEMENT,
    FIDELITY,
    TASKS,
    TOP1,
    Metric,
    Split,
    Task,
    agreement_top1,
    mean_interval,
    output_error,
    top1,
    wilson_interval,
)
from qnas_ov.tasks.preprocess import ImagePreprocessing, has_image_processor, image_preprocessing
from qnas_ov.tasks.samples import load_samples

__all__ = [
    "AGREEMENT",
    "FIDELITY",
    "TASKS",
    "TOP1",
    "ImagePreprocessing",
    "Metric",
    "Split",
    "Task",
    "agreement_top1",
    "has_image_processor",
    "image_preprocessing",
    "load_samples",
    "mean_interval",
    "output_error",
    "top1",
    "wilson_interval",
]
