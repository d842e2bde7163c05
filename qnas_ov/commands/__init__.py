"""Parts of the command line that do not fit into one file."""

from qnas_ov.commands._benchmark import benchmark
from qnas_ov.commands._options import DATA, LATENCY_DB, MODEL, NETWORK, SETTINGS, options

__all__ = ["DATA", "LATENCY_DB", "MODEL", "NETWORK", "SETTINGS", "benchmark", "options"]
