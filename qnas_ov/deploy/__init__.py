"""Packages of a candidate, as servers load them."""

from qnas_ov.deploy._companions import COMPANIONS, read_companions
from qnas_ov.deploy._inputs import InputSettings
from qnas_ov.deploy._layouts import FORMATS, write_layout
from qnas_ov.deploy._manifest import MANIFEST_FORMAT, read_manifest
from qnas_ov.deploy._networks import Tensor, Tensors, open_network, read_tensors
from qnas_ov.deploy._ovms import check_ovms
from qnas_ov.deploy._package import write_package
from qnas_ov.deploy._samples import SAMPLES, Samples, read_samples
from qnas_ov.deploy._triton import check_triton

__all__ = [
    "COMPANIONS",
    "FORMATS",
    "MANIFEST_FORMAT",
    "SAMPLES",
    "InputSettings",
    "Samples",
    "Tensor",
    "Tensors",
    "check_ovms",
    "check_triton",
    "open_network",
    "read_companions",
    "read_manifest",
    "read_samples",
    "read_tensors",
    "write_layout",
    "write_package",
]
