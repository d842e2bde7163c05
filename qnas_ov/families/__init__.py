"""Families of networks: how to load one, what is elastic in it, and where each dimension cuts."""

from qnas_ov.families import vit as _vit  # registers the family and its models
from qnas_ov.families.base import (
    FAMILIES,
    MODELS,
    Architecture,
    ChannelGroup,
    DepthGroup,
    Elastic,
    Family,
    InputSpec,
    ModelEntry,
    Supernet,
)

__all__ = [
    "FAMILIES",
    "MODELS",
    "Architecture",
    "ChannelGroup",
    "DepthGroup",
    "Elastic",
    "Family",
    "InputSpec",
    "ModelEntry",
    "Supernet",
]

del _vit
