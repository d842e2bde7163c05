"""Families of networks: how to load one, what is elastic in it, and where each dimension cuts."""

from qnas_ov.families import beit3 as _beit3  # registers the family
from qnas_ov.families import bert as _bert  # registers the family
from qnas_ov.families import resnet as _resnet
from qnas_ov.families import vit as _vit  # registers the family
from qnas_ov.families._checkpoint import (
    WEIGHTS_NAME,
    check_weights,
    first_line,
    one_sentence,
    open_pretrained,
    quiet_transformers,
    read_config,
    read_json,
)
from qnas_ov.families._extract import extract_subnetwork
from qnas_ov.families._importance import order_by_importance
from qnas_ov.families.base import (
    CONFIG_KEY,
    FAMILIES,
    Architecture,
    BatchNorm,
    ChannelGroup,
    DepthGroup,
    Elastic,
    Family,
    InputSpec,
    Supernet,
    find_family,
)
from qnas_ov.families.models import MODELS, DefaultData, ModelEntry, Weights

__all__ = [
    "CONFIG_KEY",
    "FAMILIES",
    "MODELS",
    "WEIGHTS_NAME",
    "Architecture",
    "BatchNorm",
    "ChannelGroup",
    "DefaultData",
    "DepthGroup",
    "Elastic",
    "Family",
    "InputSpec",
    "ModelEntry",
    "Supernet",
    "Weights",
    "check_weights",
    "extract_subnetwork",
    "find_family",
    "first_line",
    "one_sentence",
    "open_pretrained",
    "order_by_importance",
    "quiet_transformers",
    "read_config",
    "read_json",
]

del _beit3, _bert, _resnet, _vit
