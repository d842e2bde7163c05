"""Measurements of an IR: accuracy, latency by benchmark_app, size, realised precision, and the machine."""

from qnas_ov.measure.accuracy import predict_outputs
from qnas_ov.measure.device import check_device, describe_machine, inference_precisions, multiplies_int8_exactly
from qnas_ov.measure.latency import (
    Gauge,
    Latency,
    LatencyDifference,
    LatencyMeter,
    LatencyRun,
    benchmark_app_arguments,
    run_benchmark_app,
)
from qnas_ov.measure.precision import RealisedPrecisions, realised_precisions
from qnas_ov.measure.size import measure_size

__all__ = [
    "Gauge",
    "Latency",
    "LatencyDifference",
    "LatencyMeter",
    "LatencyRun",
    "RealisedPrecisions",
    "benchmark_app_arguments",
    "check_device",
    "describe_machine",
    "inference_precisions",
    "measure_size",
    "multiplies_int8_exactly",
    "predict_outputs",
    "realised_precisions",
    "run_benchmark_app",
]
