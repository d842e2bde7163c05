"""Packages of a candidate, as servers load them."""

from qnas_ov.deploy._package import MANIFEST_FORMAT, write_package

__all__ = ["MANIFEST_FORMAT", "write_package"]
