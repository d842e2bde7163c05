"""What `qnas-ov benchmark` is asked to measure: networks, each under one setting."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import openvino as ov

from qnas_ov.core.errors import InputError, MeasurementError
from qnas_ov.ir import count_macs
from qnas_ov.measure import RunSettings, check_device, supported_precisions
from qnas_ov.pipeline._outputs import BASELINES
from qnas_ov.recipe import parse_shapes

PACKAGED = "openvino_model.xml"


@dataclass(frozen=True)
class Request:
    """What the user asked of every network.

    Attributes:
        device: A checked device.
        hints: "latency", "throughput" or both.
        batches: Samples per inference.
        precisions: Inference precisions; empty for each network's own: a candidate's, else the device's first.
        shapes: Whole shapes by input name, where axes other than the batch are dynamic.
        streams: Inferences at the same time; None leaves them to the hint.
        threads: Threads of the CPU; None leaves them to the hint.
    """

    device: str
    hints: tuple[str, ...] = ("latency",)
    batches: tuple[int, ...] = (1,)
    precisions: tuple[str, ...] = ()
    shapes: Mapping[str, Sequence[int]] | None = None
    streams: int | None = None
    threads: int | None = None


@dataclass(frozen=True)
class BenchmarkNetwork:
    """A network to measure.

    Attributes:
        name: What it is called in the tables.
        path: Its .xml.
        precision: The inference precision that it was chosen for, None if it may run in any.
    """

    name: str
    path: Path
    precision: str | None = None


@dataclass(frozen=True)
class Case:
    """A network under one setting.

    Attributes:
        network: The network.
        settings: How it is run; its shapes are empty if `problem` is set.
        macs: Multiply-accumulates of one sample.
        problem: Why it cannot run so, if it cannot: a failed record.
    """

    network: BenchmarkNetwork
    settings: RunSettings
    macs: int = 0
    problem: str | None = None


def check_request(
    *,
    device: str,
    hints: Sequence[str] = ("latency",),
    batches: Sequence[int] = (1,),
    precisions: Sequence[str] = (),
    shape: str | None = None,
    streams: int | None = None,
    threads: int | None = None,
) -> Request:
    """Checks what was asked; arguments are those of `Request`, `shape` as `--shape` takes it.

    Raises:
        InputError: If the device is not there, does not compute in a precision, or a number is below 1.
    """
    device = check_device(device)
    supported = supported_precisions(device)
    for precision in precisions:
        if precision not in supported:
            raise InputError(
                f"inference precision '{precision}' is not computed in hardware by {device} here: choose from "
                f"{', '.join(supported)}"
            )
    for name, value in (("--streams", streams), ("--threads", threads), *(("--batch", b) for b in batches)):
        if value is not None and value < 1:
            raise InputError(f"{name} must be at least 1: got {value}")
    return Request(
        device,
        tuple(dict.fromkeys(hints)),
        tuple(dict.fromkeys(batches)),
        tuple(dict.fromkeys(precisions)),
        parse_shapes(shape),
        streams,
        threads,
    )


def find_networks(paths: Sequence[Path]) -> list[BenchmarkNetwork]:
    """The networks of IRs, of packages, and of run folders (the unsearched network and the front).

    Raises:
        InputError: If a path is none of these, or two networks would have one name.
    """
    found = list(itertools.chain.from_iterable(_networks_at(path, several=len(paths) > 1) for path in paths))
    if not found:
        raise InputError("a benchmark needs a network: give .xml files, packages or run folders")
    resolved = [n.path.resolve() for n in found]
    for path, count in Counter(zip(resolved, (n.precision for n in found), strict=True)).items():
        if count > 1:
            raise InputError(f"a benchmark needs different networks: '{path[0]}' is given {count} times; give it once")
    return _with_different_names(found)


def _networks_at(path: Path, *, several: bool) -> list[BenchmarkNetwork]:
    if not path.exists():
        raise InputError(f"'{path}' does not exist: give an .xml, a package or a run folder")
    if path.is_dir():
        if (path / "recipe.yaml").is_file():
            return _networks_of_run(path, prefix=f"{path.resolve().name}:" if several else "")
        if (path / PACKAGED).is_file():
            return [BenchmarkNetwork(path.resolve().name, path / PACKAGED, _pinned_precision(path))]
        raise InputError(f"'{path}' holds no network: it must be a run folder or a folder with {PACKAGED}")
    if path.suffix.lower() != ".xml" or not path.with_suffix(".bin").is_file():
        raise InputError(
            f"'{path}' is no IR: it must be an .xml with its .bin beside it; convert it with `ovc {path.name}`"
        )
    return [BenchmarkNetwork(path.stem, path)]


def _networks_of_run(folder: Path, *, prefix: str) -> list[BenchmarkNetwork]:
    if not (folder / "pareto.csv").is_file():
        raise InputError(
            f"the run in '{folder}' is not finished: continue it with `qnas-ov search --resume --out {folder}`"
        )
    machine = json.loads((folder / "machine.json").read_text())
    baselines = [
        BenchmarkNetwork(f"{prefix}{kind}-{precision}", folder / BASELINES / f"{kind}.xml", precision)
        for kind in ("int8", "float")
        for precision in machine.get("inference_precisions", ["f32"])
        if (folder / BASELINES / f"{kind}.xml").is_file()
    ]
    packages = sorted(p.parent for p in (folder / "deploy").glob(f"*/{PACKAGED}"))
    front = [BenchmarkNetwork(f"{prefix}{c.name}", c / PACKAGED, _pinned_precision(c)) for c in packages]
    known = {n.name for n in baselines}
    return baselines + [n for n in front if n.name not in known]  # the unsearched network may stand on the front too


def _pinned_precision(package: Path) -> str | None:
    manifest = package / "manifest.json"
    if not manifest.is_file():
        return None
    try:
        found = json.loads(manifest.read_text()).get("inference_precision")
    except (ValueError, AttributeError) as error:
        raise InputError(f"'{manifest}' is damaged ({error}): copy or make the package again") from error
    return None if found is None else str(found)


def _with_different_names(networks: Sequence[BenchmarkNetwork]) -> list[BenchmarkNetwork]:
    """Files of one name in different folders are told apart by the folders."""
    count = Counter(n.name for n in networks)
    named = [
        BenchmarkNetwork(
            f"{n.path.resolve().parent.name}/{n.name}" if count[n.name] > 1 else n.name, n.path, n.precision
        )
        for n in networks
    ]
    count = Counter(n.name for n in named)
    return [replace(n, name=str(n.path)) if count[n.name] > 1 else n for n in named]


def make_cases(networks: Sequence[BenchmarkNetwork], request: Request) -> list[Case]:
    """Every network under every setting that was asked for."""
    default = supported_precisions(request.device)[0]
    cases = []
    for network in networks:
        precisions = request.precisions or (network.precision or default,)
        if network.precision is not None and network.precision in precisions:
            precisions = (network.precision,)  # a baseline or a candidate stands for one precision
        for precision, hint, batch in itertools.product(precisions, request.hints, request.batches):
            cases.append(_case(network, request, precision=precision, hint=hint, batch=batch))
    return cases


def _case(network: BenchmarkNetwork, request: Request, *, precision: str, hint: str, batch: int) -> Case:
    def settings(shapes: Mapping[str, Sequence[int]]) -> RunSettings:
        return RunSettings(
            device=request.device,
            shapes=shapes,
            inference_precision=precision,
            hint=hint,
            streams=request.streams,
            threads=request.threads,
            batch=batch,
        )

    try:
        shapes, macs = _static_shapes(network.path, batch, request.shapes or {})
    except (MeasurementError, RuntimeError) as error:
        return Case(network, settings({}), problem=_last_line(error))
    return Case(network, settings(shapes), macs=macs)


def _static_shapes(path: Path, batch: int, given: Mapping[str, Sequence[int]]) -> tuple[dict[str, list[int]], int]:
    """Static shapes of the inputs for a batch, and the MACs of one sample.

    Raises:
        MeasurementError: If the network does not take that batch.
        InputError: If an axis is left open.
    """
    model = ov.Core().read_model(path)
    shapes: dict[str, list[int]] = {}
    for port in model.inputs:
        name = port.get_any_name() if port.get_names() else port.get_node().get_friendly_name()
        axes = [d.get_length() if d.is_static else -1 for d in port.get_partial_shape()]
        chosen = given.get(name, given.get(""))
        if chosen is not None:
            if len(chosen) != len(axes):
                raise InputError(f"--shape gives input '{name}' of {path.name} {len(chosen)} axes: it has {len(axes)}")
            axes = list(chosen)
        if -1 in axes[1:]:
            example = ",".join("128" if axis < 0 else str(axis) for axis in (1, *axes[1:]))
            raise InputError(
                f"input '{name}' of {path.name} has dynamic axes besides the batch: give all lengths, for instance "
                f"--shape '{name}[{example}]'"
            )
        shapes[name] = [batch, *axes[1:]] if axes else []
    try:
        model.reshape({name: ov.PartialShape(shape) for name, shape in shapes.items()})
    except RuntimeError as error:
        raise MeasurementError(f"the network does not take a batch of {batch}: {_last_line(error)}") from error
    return shapes, count_macs(model)


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
