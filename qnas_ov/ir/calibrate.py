"""The bank: NNCF's statistics, quantizer ranges and bias corrections, collected once for the largest network.

This is the only module that uses NNCF's internals (they carry no promise, so nncf's minor version is pinned): the
public `nncf.quantize` cannot say which operations share quantizers, nor hand out the float network after SmoothQuant,
and every candidate needs both.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from qnas_ov.core.errors import InputError
from qnas_ov.core.files import atomic_folder
from qnas_ov.core.fingerprint import digest_arrays, digest_json
from qnas_ov.ir.graph import is_constant_input, module_path, node_macs, nodes_by_name, of_one_sample, scope_name
from qnas_ov.ir.store import save_ir
from qnas_ov.ir.units import PrecisionUnit, RawUnit, name_units

BANK_FORMAT = 3

Sample = dict[str, np.ndarray]

Ranges = dict[str, tuple[np.ndarray, np.ndarray]]
"""Lowest and highest value by the name of an activation's quantizer."""


@dataclass(frozen=True)
class Bank:
    """What every candidate is cut from. Read-only.

    Attributes:
        source: The exported FP32 network.
        smoothed: The FP32 network after SmoothQuant: the weights of units that stay in floating point.
        int8: The fully INT8 network, weights compressed.
        units: Its precision units.
        digest: Digest of weights, samples, settings and versions.
        collected: True if statistics were collected now, False if the bank was read from the cache.
    """

    source: ov.Model
    smoothed: ov.Model
    int8: ov.Model
    units: tuple[PrecisionUnit, ...]
    digest: str
    collected: bool


@dataclass(frozen=True)
class Scheme:
    """How NNCF quantizes.

    Attributes:
        transformer: Whether to use its scheme for transformers (SmoothQuant, asymmetric activations).
        half_range: Whether INT8 weights use half their range, so that sums of two products fit into 16 bits: needed
            where the CPU has neither VNNI nor AMX. NNCF's default does so for the first layer of what is quantized,
            which would change other layers' weights whenever a policy leaves that first layer in floating point.
    """

    transformer: bool
    half_range: bool = False


def bank_digest(model: ov.Model, samples: Sequence[Sample], scheme: Scheme) -> str:
    """Digest of all that determines a bank; two exports of the same network agree, though they number nodes anew."""
    return digest_json(
        {
            "format": BANK_FORMAT,
            **_contents(model),
            "samples": [digest_arrays(s) for s in samples],
            "scheme": asdict(scheme),
            "versions": {p: metadata.version(p) for p in ("nncf", "openvino")},
        }
    )


def digest_network(model: ov.Model) -> str:
    """Digest of a network's structure and weights; two exports of the same network agree."""
    return digest_json(_contents(model))


def _contents(model: ov.Model) -> dict[str, Any]:
    nodes = model.get_ordered_ops()
    constants = {str(i): np.asarray(n.data) for i, n in enumerate(nodes) if n.get_type_name() == "Constant"}
    return {
        "weights": digest_arrays(constants),
        "structure": [(n.get_type_name(), module_path(n.get_friendly_name())) for n in nodes],
    }


def load_or_build_bank(model: ov.Model, samples: Sequence[Sample], scheme: Scheme, *, cache: Path) -> Bank:
    """Returns the bank of `model`: from `cache` if it was built before from the same inputs, else built and kept there.

    Args:
        model: The largest network in FP32, batch axis dynamic.
        samples: Calibration samples, each an array per input with a batch axis of 1.
        scheme: How NNCF quantizes.
        cache: Folder that holds banks.

    Raises:
        InputError: If there are no samples or NNCF finds nothing to quantize.
    """
    if not samples:
        raise InputError("calibration needs at least one sample: got none; give a larger calibration split")
    digest = bank_digest(model, samples, scheme)
    folder = cache / digest
    if folder.exists():
        with suppress(RuntimeError, OSError, ValueError, KeyError):  # a damaged cache entry is built again
            return _read(folder, digest, collected=False)
    with atomic_folder(folder) as part:
        _build(model, samples, scheme, folder=part)
    _give_memory_back()
    return _read(folder, digest, collected=True)


def build_bank_once(model: ov.Model, samples: Sequence[Sample], scheme: Scheme) -> Bank:
    """A bank that is used at once and not kept: of a winner, on its own graph. Arguments as in `load_or_build_bank`.

    NNCF gets weights of its own, in memory: on weights that are mapped files, as those of a kept bank are, the
    CPU plugin has crashed in it (with accuracy control, and once here).
    """
    with tempfile.TemporaryDirectory(prefix="qnas-ov-bank-") as name:
        folder = Path(name)
        own = _core(mapped=False).read_model(save_ir(model, folder / "float.xml"))
        _build(own, samples, scheme, folder=folder)
        return _read(folder, "", collected=True, mapped=False)


def _core(*, mapped: bool) -> ov.Core:
    core = ov.Core()
    core.set_property({"ENABLE_MMAP": mapped})
    return core


def _read(folder: Path, digest: str, *, collected: bool, mapped: bool = True) -> Bank:
    core = _core(mapped=mapped)
    units = json.loads((folder / "units.json").read_text())
    return Bank(
        source=core.read_model(folder / "source.xml"),
        smoothed=core.read_model(folder / "smoothed.xml"),
        int8=core.read_model(folder / "int8.xml"),
        units=tuple(PrecisionUnit.from_json(u) for u in units),
        digest=digest,
        collected=collected,
    )


def _build(model: ov.Model, samples: Sequence[Sample], scheme: Scheme, *, folder: Path) -> None:
    with _quiet_nncf():
        import nncf
        from nncf.common.factory import build_graph
        from nncf.openvino.graph.model_utils import remove_friendly_name_duplicates
        from nncf.quantization.algorithms.pipeline import collect_statistics
        from nncf.quantization.algorithms.smooth_quant.algorithm import SmoothQuant
        from openvino._offline_transformations import compress_quantize_weights_transformation

        dataset = nncf.Dataset(list(samples))
        pipeline = _make_pipeline(scheme, len(samples))
        steps = pipeline._remove_unsupported_algorithms(nncf.common.utils.backend.BackendType.OPENVINO)
        source = remove_friendly_name_duplicates(model)
        smoothed = current = source
        for step in range(len(steps)):
            smoothed = current
            graph = build_graph(current)
            points = pipeline.get_statistic_points_for_step(step, current, graph)
            statistics = collect_statistics(points, current, graph, dataset)
            if isinstance(steps[step][0], SmoothQuant):
                assert len(steps[step]) == 1, "NNCF runs SmoothQuant as a step of its own"
                current = _smooth(steps[step][0], current, graph, statistics)
            else:
                current = pipeline.run_step(step, statistics, current, graph)
        raw = _find_units(smoothed, current)
        compress_quantize_weights_transformation(current)
    if not raw:
        raise InputError("NNCF found nothing to quantize in this network: it has no layer that INT8 can serve")
    _attach_constants(raw, smoothed, current)
    save_ir(source, folder / "source.xml")
    save_ir(smoothed, folder / "smoothed.xml")
    save_ir(current, folder / "int8.xml")
    (folder / "units.json").write_text(json.dumps([u.to_json() for u in name_units(raw)], indent=1))


def _make_pipeline(scheme: Scheme, count: int) -> Any:
    import nncf
    from nncf.quantization.algorithms.post_training.pipeline import create_ptq_pipeline

    fix = nncf.OverflowFix.ENABLE if scheme.half_range else nncf.OverflowFix.DISABLE
    return create_ptq_pipeline(
        model_type=nncf.ModelType.TRANSFORMER if scheme.transformer else None,
        subset_size=count,
        advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=fix),
    )


def collect_ranges(model: ov.Model, samples: Sequence[Sample], scheme: Scheme) -> Ranges:
    """The ranges that NNCF gives a float network's activations; weights and biases are left alone.

    Args:
        model: A network after SmoothQuant, batch axis dynamic.
        samples: Calibration samples, each an array per input with a batch axis of 1.
        scheme: How NNCF quantizes.
    """
    with _quiet_nncf():
        import nncf
        from nncf.common.factory import build_graph
        from nncf.quantization.algorithms.min_max.algorithm import MinMaxQuantization
        from nncf.quantization.algorithms.pipeline import collect_statistics

        steps = _make_pipeline(scheme, len(samples)).pipeline_steps
        (minmax,) = [a for step in steps for a in step if isinstance(a, MinMaxQuantization)]
        graph = build_graph(model)
        points = collect_statistics(
            minmax.get_statistic_points(model, graph), model, graph, nncf.Dataset(list(samples))
        )
        return read_ranges(minmax.apply(model, graph, points))


def read_ranges(model: ov.Model) -> Ranges:
    """The ranges of the activations' quantizers in an INT8 network."""
    found = {}
    for node in model.get_ops():
        if node.get_type_name() == "FakeQuantize" and not is_constant_input(node.input(0)):
            low, high = (np.array(node.input_value(port).get_node().data) for port in (1, 2))
            found[node.get_friendly_name()] = (low, high)
    return found


def _smooth(algorithm: Any, model: ov.Model, graph: Any, statistics: Any) -> ov.Model:
    """SmoothQuant, source by source: at once it keeps all weights once more in 64 bits, and again in 32."""
    group_by_source = algorithm._group_nodes_by_source
    groups: dict[Any, Any] = {}

    def note(nodes: Any, of: Any) -> dict[Any, Any]:
        groups.update(group_by_source(nodes, of))
        return {}

    try:
        algorithm._group_nodes_by_source = note
        model = algorithm.apply(model, graph, statistics)
        for source, members in groups.items():
            algorithm._group_nodes_by_source = lambda nodes, of, part=(source, members): dict([part])
            model = algorithm.apply(model, graph, statistics)
    finally:
        del algorithm._group_nodes_by_source
    return model


def _give_memory_back() -> None:
    """Returns to the system what glibc keeps after the weights are freed; does nothing with another C library."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def _find_units(smoothed: ov.Model, int8: ov.Model) -> list[RawUnit]:
    """NNCF's groups of quantizers, with the operations that each group serves."""
    from nncf.common.factory import build_graph
    from nncf.quantization.algorithms.accuracy_control.openvino_backend import OVAccuracyControlAlgoBackend
    from nncf.quantization.algorithms.accuracy_control.ranker import Ranker

    backend = OVAccuracyControlAlgoBackend()
    ranker = Ranker(1, (), backend, None)
    groups = ranker.find_groups_of_quantizers_to_rank(build_graph(int8))
    order = {n.get_friendly_name(): i for i, n in enumerate(smoothed.get_ordered_ops())}
    raw = [
        RawUnit(
            sorted((n.node_name for n in g.operations), key=order.__getitem__), [n.node_name for n in g.quantizers], []
        )
        for g in groups
        if g.operations
    ]
    nodes = nodes_by_name(smoothed)
    for unit in raw:
        unit.places = [scope_name(nodes[name]) for name in unit.operations]
    return sorted(raw, key=lambda unit: order[unit.operations[0]])


def _attach_constants(raw: list[RawUnit], smoothed: ov.Model, int8: ov.Model) -> None:
    """Notes for every unit which activation quantizers remain after compression, its weights, biases, and costs."""
    float_nodes, int8_nodes = nodes_by_name(smoothed), nodes_by_name(int8)
    macs = {n.get_friendly_name(): node_macs(n) for n in of_one_sample(smoothed).get_ops()}
    for unit in raw:
        unit.macs = sum(macs[name] for name in unit.operations)
        unit.computing = [name for name in unit.operations if macs[name]]
        unit.quantizers = [
            n for n in unit.quantizers if n in int8_nodes and int8_nodes[n].get_type_name() == "FakeQuantize"
        ]
        for name in unit.operations:
            node = float_nodes[name]
            for port in node.inputs():
                source = port.get_source_output()
                if (
                    is_constant_input(port)
                    and source.get_element_type().is_real()
                    and len(source.get_partial_shape()) > 1
                ):
                    unit.weights.append((name, port.get_index()))
                    unit.params += int(np.prod(source.get_shape()))
            for reader in node.output(0).get_target_inputs():
                add = reader.get_node()
                if add.get_type_name() == "Add" and is_constant_input(add.input(1 - reader.get_index())):
                    unit.biases.append((add.get_friendly_name(), 1 - reader.get_index()))


@contextmanager
def _quiet_nncf() -> Iterator[None]:
    """Keeps NNCF's information lines and progress bars off the terminal; errors pass."""
    from nncf.common.logging import nncf_logger

    level = nncf_logger.level
    nncf_logger.setLevel(logging.ERROR)
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            yield
    finally:
        nncf_logger.setLevel(level)
