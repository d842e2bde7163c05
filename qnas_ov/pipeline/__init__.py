"""The spine of the package: the only room that wires stages together."""

from qnas_ov.pipeline._outputs import SearchResult, load_result
from qnas_ov.pipeline._sensitivity import Sensitivity, run_sensitivity
from qnas_ov.pipeline._setup import list_models
from qnas_ov.pipeline._spine import run_search
from qnas_ov.pipeline._training import run_training

__all__ = [
    "SearchResult",
    "Sensitivity",
    "list_models",
    "load_result",
    "run_search",
    "run_sensitivity",
    "run_training",
]
