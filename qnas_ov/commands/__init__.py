"""Parts of the command line that do not fit into one file."""

from qnas_ov.commands._benchmark import benchmark
from qnas_ov.commands._options import LATENCY_DB, options, percent

__all__ = ["LATENCY_DB", "benchmark", "options", "percent"]
