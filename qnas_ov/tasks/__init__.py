"""Data sets, preprocessing and metrics."""

from qnas_ov.tasks import digits as digits
from qnas_ov.tasks import docstrings as docstrings
from qnas_ov.tasks.base import TASKS, Split, Stream, Task, TrainData
from qnas_ov.tasks.choosing import Situation, choose_metric
from qnas_ov.tasks.hub import open_hub
from qnas_ov.tasks.images import encode_images
from qnas_ov.tasks.intervals import mean_interval, wilson_interval
from qnas_ov.tasks.labels import MatchedLabels, match_labels
from qnas_ov.tasks.metrics import (
    AGREEMENT,
    COSINE,
    FIDELITY,
    METRICS,
    TOP1,
    Metric,
    agreement_top1,
    metric_of_column,
    output_error,
    top1,
)
from qnas_ov.tasks.opening import open_data
from qnas_ov.tasks.own_metric import import_metric, is_own_metric, own_metric
from qnas_ov.tasks.preprocess import ImagePreprocessing, has_image_processor, image_preprocessing
from qnas_ov.tasks.samples import load_samples
from qnas_ov.tasks.sources import DataSource, Records, as_numbers, read_scores
from qnas_ov.tasks.splits import Members, draw_splits
from qnas_ov.tasks.texts import TextEncoder, has_tokenizer, load_text_encoder

__all__ = [
    "AGREEMENT",
    "COSINE",
    "FIDELITY",
    "METRICS",
    "TASKS",
    "TOP1",
    "DataSource",
    "ImagePreprocessing",
    "MatchedLabels",
    "Members",
    "Metric",
    "Records",
    "Situation",
    "Split",
    "Stream",
    "Task",
    "TextEncoder",
    "TrainData",
    "agreement_top1",
    "as_numbers",
    "choose_metric",
    "draw_splits",
    "encode_images",
    "has_image_processor",
    "has_tokenizer",
    "image_preprocessing",
    "import_metric",
    "is_own_metric",
    "load_samples",
    "load_text_encoder",
    "match_labels",
    "mean_interval",
    "metric_of_column",
    "open_data",
    "open_hub",
    "output_error",
    "own_metric",
    "read_scores",
    "top1",
    "wilson_interval",
]
