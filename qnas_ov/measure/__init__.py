"""Measurements of an IR: accuracy, latency by benchmark_app, size, realised precision, and the machine."""

from qnas_ov.measure.accuracy import Inference, predict_outputs
from qnas_ov.measure.benchmark_app import MEDIAN, LatencyRun, run_benchmark_app
from qnas_ov.measure.conditions import Conditions
from qnas_ov.measure.database import (
    REPORT,
    SEARCH,
    KeptRun,
    LatencyDatabase,
    RunKey,
    closing_database,
    default_database,
)
from qnas_ov.measure.device import (
    check_device,
    describe_machine,
    inference_precisions,
    machine_digest,
    multiplies_int8_exactly,
    supported_precisions,
)
from qnas_ov.measure.estimate import COVERAGE, Estimate, estimate_median
from qnas_ov.measure.graph_digest import digest_graph
from qnas_ov.measure.latency import Latency, LatencyMeter, RoundPlan, describe_protocol
from qnas_ov.measure.precision import RealisedPrecisions, realised_precisions
from qnas_ov.measure.profile import Profile, TimedKernel, profile_network, read_executed_graph
from qnas_ov.measure.reference import Gauge, LatencyDifference
from qnas_ov.measure.settings import HINTS, RunSettings
from qnas_ov.measure.size import measure_size

__all__ = [
    "COVERAGE",
    "HINTS",
    "MEDIAN",
    "REPORT",
    "SEARCH",
    "Conditions",
    "Estimate",
    "Gauge",
    "Inference",
    "KeptRun",
    "Latency",
    "LatencyDatabase",
    "LatencyDifference",
    "LatencyMeter",
    "LatencyRun",
    "Profile",
    "RealisedPrecisions",
    "RoundPlan",
    "RunKey",
    "RunSettings",
    "TimedKernel",
    "check_device",
    "closing_database",
    "default_database",
    "describe_machine",
    "describe_protocol",
    "digest_graph",
    "estimate_median",
    "inference_precisions",
    "machine_digest",
    "measure_size",
    "multiplies_int8_exactly",
    "predict_outputs",
    "profile_network",
    "read_executed_graph",
    "realised_precisions",
    "run_benchmark_app",
    "supported_precisions",
]
