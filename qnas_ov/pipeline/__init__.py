"""The spine of the package: the only room that wires stages together."""

from qnas_ov.deploy import InputSettings
from qnas_ov.pipeline._benchmark import Benchmark, run_benchmark
from qnas_ov.pipeline._benchmark_cases import check_request
from qnas_ov.pipeline._models import list_models
from qnas_ov.pipeline._module import ModuleSource
from qnas_ov.pipeline._outputs import SearchResult, load_result
from qnas_ov.pipeline._packages import PackageCheck, Packaged, run_package, verify_package
from qnas_ov.pipeline._report import Report, run_report
from qnas_ov.pipeline._select import RULES, select_candidate
from qnas_ov.pipeline._sensitivity import Sensitivity, run_sensitivity
from qnas_ov.pipeline._spine import run_search
from qnas_ov.pipeline._training import TrainOptions, TrainResult, run_training, split_settings

__all__ = [
    "RULES",
    "Benchmark",
    "InputSettings",
    "ModuleSource",
    "PackageCheck",
    "Packaged",
    "Report",
    "SearchResult",
    "Sensitivity",
    "TrainOptions",
    "TrainResult",
    "check_request",
    "list_models",
    "load_result",
    "run_benchmark",
    "run_package",
    "run_report",
    "run_search",
    "run_sensitivity",
    "run_training",
    "select_candidate",
    "split_settings",
    "verify_package",
]
