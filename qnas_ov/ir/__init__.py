"""The only room that knows OpenVINO graphs and NNCF: export, calibrate once, cut candidates."""

from qnas_ov.ir.calibrate import Bank, Sample, Scheme, digest_network, load_or_build_bank
from qnas_ov.ir.candidate import INFERENCE_PRECISION, Candidate, CandidateBuilder
from qnas_ov.ir.cost import CostModel
from qnas_ov.ir.export import ExampleInputs, export_module, export_supernet
from qnas_ov.ir.formats import IR_NAME
from qnas_ov.ir.graph import count_macs, weights_digest
from qnas_ov.ir.norms import NormEstimator
from qnas_ov.ir.read import OpenedNetwork, open_model, open_network
from qnas_ov.ir.sandwich import load_or_collect_ranges
from qnas_ov.ir.store import save_ir
from qnas_ov.ir.units import FLOAT, INT8, PRECISIONS, W8, PrecisionUnit

__all__ = [
    "FLOAT",
    "INFERENCE_PRECISION",
    "INT8",
    "IR_NAME",
    "PRECISIONS",
    "W8",
    "Bank",
    "Candidate",
    "CandidateBuilder",
    "CostModel",
    "ExampleInputs",
    "NormEstimator",
    "OpenedNetwork",
    "PrecisionUnit",
    "Sample",
    "Scheme",
    "count_macs",
    "digest_network",
    "export_module",
    "export_supernet",
    "load_or_build_bank",
    "load_or_collect_ranges",
    "open_model",
    "open_network",
    "save_ir",
    "weights_digest",
]
