"""Supernets exported once: many runs of the tests begin with the same network, and tracing it takes seconds."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openvino as ov
import pytest

from qnas_ov.core.fingerprint import digest_arrays, digest_json
from qnas_ov.families import Supernet
from qnas_ov.ir import export_supernet, save_ir
from qnas_ov.pipeline import _checkpoint

_EXPORTED: dict[str, ov.Model] = {}


@contextmanager
def exported_once() -> Iterator[None]:
    """Within it a search traces no network that has been traced before: the same family, configuration and weights."""

    def export(supernet: Supernet) -> ov.Model:
        weights = digest_arrays({name: tensor.numpy() for name, tensor in supernet.model.state_dict().items()})
        key = digest_json([supernet.family, json.dumps(supernet.config, sort_keys=True), weights])
        if key not in _EXPORTED:
            _EXPORTED[key] = _on_its_own(export_supernet(supernet))
        return _EXPORTED[key].clone()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_checkpoint, "export_supernet", export)
        yield


def _on_its_own(model: ov.Model) -> ov.Model:
    """A copy with weights of its own: a traced network shares those of the module, which may change or go."""
    with tempfile.TemporaryDirectory() as folder:
        return ov.Core().read_model(save_ir(model, Path(folder) / "exported.xml"))  # mapped when the folder is gone
