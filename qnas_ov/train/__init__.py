"""Training of supernets, in torch only."""

from qnas_ov.train._masking import ElasticControl
from qnas_ov.train._norms import estimated_norms
from qnas_ov.train._supernet import TrainProgress, TrainSettings, evaluate_top1, train_supernet

__all__ = ["ElasticControl", "TrainProgress", "TrainSettings", "estimated_norms", "evaluate_top1", "train_supernet"]
