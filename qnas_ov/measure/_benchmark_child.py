"""The process that is measured: the real benchmark_app, how much memory it took, and a reference network in between.

Nothing of qnas-ov is imported. Its arguments are the report folder, then benchmark_app's own; `_benchmark_server.py`
forks and runs it. Where `reference.json` stands in the report folder, its network is inferred in turn with the one
that is measured, in blocks of some 20 ms; benchmark_app times its own inferences one by one and does not notice.
"""

import ctypes
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from openvino.tools.benchmark.benchmark import Benchmark
from openvino.tools.benchmark.main import main

_BLOCK_MS = 20.0
_MADV_POPULATE_READ = 22


class Alternating:
    """A request of the measured network, of which every block of inferences is followed by one of the reference's."""

    def __init__(self, request: Any, reference: Any, pairs: list[list[float]]) -> None:
        self._request, self._reference, self._pairs = request, reference, pairs
        self._block: list[float] = []

    def infer(self, *arguments: Any, **named: Any) -> None:
        self._request.infer(*arguments, **named)
        self._block.append(self._request.latency)
        if sum(self._block) >= _BLOCK_MS:
            start = time.perf_counter()
            beside: list[float] = []
            while sum(beside) < min(_BLOCK_MS, sum(self._block)):
                self._reference.infer()
                beside.append(self._reference.latency)
            # The first inference of several finds the other network's data in the caches.
            own, other = (statistics.median(b[1:] or b) for b in (self._block, beside))
            self._pairs.append([own, other, 1e3 * (time.perf_counter() - start)])
            self._block = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)


def open_reference(settings: dict[str, Any]) -> Any:
    """A request of the reference, inputs zero, warm."""
    import openvino as ov

    model = ov.Core().read_model(settings["model"])
    model.reshape({name: ov.PartialShape(shape) for name, shape in settings["shapes"].items()})
    compiled = ov.Core().compile_model(model, settings["device"], settings["properties"])
    reference = compiled.create_infer_request()
    for port in compiled.inputs:
        reference.get_tensor(port).data[...] = 0
    for _ in range(3):
        reference.infer()
    return reference


def _memory_bytes(field: str) -> int | None:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return None  # some sandboxes' kernels do not tell


def _hold_libraries() -> None:
    """Makes the code of all loaded libraries resident: a fork begins without, and would seem to grow by what it uses.

    Kernels before Linux 5.14 cannot; there the figure holds the code that was used.
    """
    madvise = ctypes.CDLL(None).madvise
    for line in Path("/proc/self/maps").read_text().splitlines():
        place, rights, *_, name = line.split(maxsplit=5)
        if rights.startswith("r-x") and name.startswith("/"):
            start, end = (int(number, 16) for number in place.split("-"))
            madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_POPULATE_READ)


folder = Path(sys.argv.pop(1))
_hold_libraries()
measured: dict[str, Any] = {"before": _memory_bytes("VmRSS"), "pairs": []}
plain = Benchmark.sync_inference


def measure_beside_reference(self: Any, request: Any, queue: Any) -> Any:
    """What benchmark_app does when its network is compiled and has run once; only then the reference is opened."""
    measured["peak"] = _memory_bytes("VmHWM")
    reference = open_reference(json.loads((folder / "reference.json").read_text()))
    return plain(self, Alternating(request, reference, measured["pairs"]), queue)


if (folder / "reference.json").exists():
    Benchmark.sync_inference = measure_beside_reference
main()
measured.setdefault("peak", _memory_bytes("VmHWM"))
(folder / "measured.json").write_text(json.dumps(measured))
