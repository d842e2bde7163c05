"""Training of supernets, in torch only."""

from qnas_ov.train._device import DEVICES, choose_device, helps_bf16
from qnas_ov.train._judge import AccuracyJudge, Judge, SimilarityJudge, evaluate_top1, score_subnetwork
from qnas_ov.train._masking import ElasticControl
from qnas_ov.train._memory import check_memory, estimate_bytes, free_bytes
from qnas_ov.train._norms import estimated_norms
from qnas_ov.train._settings import TrainSettings
from qnas_ov.train._trainer import CHECKPOINT, TEACHER, Runtime, Trainer, TrainProgress

__all__ = [
    "CHECKPOINT",
    "DEVICES",
    "TEACHER",
    "AccuracyJudge",
    "ElasticControl",
    "Judge",
    "Runtime",
    "SimilarityJudge",
    "TrainProgress",
    "TrainSettings",
    "Trainer",
    "check_memory",
    "choose_device",
    "estimate_bytes",
    "estimated_norms",
    "evaluate_top1",
    "free_bytes",
    "helps_bf16",
    "score_subnetwork",
]
