"""The only room that knows OpenVINO graphs and NNCF: export, calibrate once, cut candidates."""

from qnas_ov.ir.calibrate import Bank, Sample, load_or_build_bank
from qnas_ov.ir.candidate import INFERENCE_PRECISION, Candidate, CandidateBuilder
from qnas_ov.ir.cost import CostModel, count_macs
from qnas_ov.ir.export import export_supernet
from qnas_ov.ir.store import save_ir
from qnas_ov.ir.units import FLOAT, INT8, PrecisionUnit

__all__ = [
    "FLOAT",
    "INFERENCE_PRECISION",
    "INT8",
    "Bank",
    "Candidate",
    "CandidateBuilder",
    "CostModel",
    "PrecisionUnit",
    "Sample",
    "count_macs",
    "export_supernet",
    "load_or_build_bank",
    "save_ir",
]
