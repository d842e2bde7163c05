"""The process that is measured: the real benchmark_app, how much memory it took, and a reference network in between.

Nothing of qnas-ov is imported. Its arguments are the report folder, "alone" or "beside", a time limit, then those of
benchmark_app; `_benchmark_server.py` forks and runs it. Beside a reference network, the measured one pauses after every
block, while the process that asked for the measurement infers the reference: `ask` is told how long, and returns a
latency. The first inference of a block finds the other network's data in the caches and counts in no figure: it takes
longer, but not in proportion on a slow machine, so that the drift of the machine would not cancel. Some 10 ms of
inferences follow. Longer blocks would be fewer, and further from each other on a machine whose speed changes within a
second. benchmark_app times its own inferences one by one, and is told in the end which of them count.

It goes on until there are `_PAIRS` of blocks: a fast network has done its iterations after one or two, where one
disturbance spoils the median. It ends before its iterations are done when its inferences have taken the time limit, in
milliseconds ("inf" for none). So does a run alone, when each request has inferred as often as there would be blocks.
"""

import ctypes
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openvino.tools.benchmark.benchmark import Benchmark
from openvino.tools.benchmark.main import main

_BLOCK_MS = 10.0
_PAIRS = 8
_MADV_POPULATE_READ = 22


class Alternating:
    """A request of the measured network that waits after every block of inferences for one of the reference's.

    Attributes:
        latencies: Milliseconds of the inferences that count: all but the first of every block.
        pairs: By finished block, the median of its inferences that count and that of the reference's, in milliseconds.
        apart_s: What the others took, and the reference's blocks, in seconds.
    """

    def __init__(self, request: Any, ask: Callable[[str], str], benchmark: Any, limit_ms: float) -> None:
        self._request, self._ask, self._benchmark = request, ask, benchmark
        self._block: list[float] | None = None
        self._begun, self._left_ms = 0, limit_ms
        self.latencies: list[float] = []
        self.pairs: list[list[float]] = []
        self.apart_s = 0.0

    def infer(self, *arguments: Any, **named: Any) -> None:
        start = time.perf_counter()
        self._request.infer(*arguments, **named)
        self._begun += 1
        self._left_ms -= self._request.latency
        if self._block is None:
            self._block = []
            self._benchmark.niter += 1
            self.apart_s += time.perf_counter() - start
        else:
            self._block.append(self._request.latency)
            self.latencies.append(self._request.latency)
            if sum(self._block) >= _BLOCK_MS:
                self._end_block(self._block)
        if len(self.pairs) < _PAIRS:
            self._benchmark.niter = max(self._benchmark.niter, self._begun + 1)
        elif self._left_ms <= 0:
            self._benchmark.niter = self._begun

    def _end_block(self, block: list[float]) -> None:
        start = time.perf_counter()
        self.pairs.append([statistics.median(block), float(self._ask(str(_BLOCK_MS)))])
        self._block = None
        self.apart_s += time.perf_counter() - start

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)


class Limited:
    """The queue of inputs, of which benchmark_app asks something before every inference; it ends the run in time."""

    def __init__(self, queue: Any, benchmark: Any, limit_ms: float) -> None:
        self._queue, self._benchmark = queue, benchmark
        self._begun, self._fewest = 0, _PAIRS * benchmark.nireq
        self._end = time.perf_counter() + limit_ms / 1e3

    def get_next_batch_size(self) -> Any:
        self._begun += 1
        if self._begun >= self._fewest and time.perf_counter() >= self._end:
            self._benchmark.niter = self._begun
        return self._queue.get_next_batch_size()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)


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


folder, mode, limit_ms = Path(sys.argv.pop(1)), sys.argv.pop(1), float(sys.argv.pop(1))
_hold_libraries()
measured: dict[str, Any] = {"before": _memory_bytes("VmRSS"), "pairs": []}
plain_init, plain, plain_loop = Benchmark.__init__, Benchmark.sync_inference, Benchmark.main_loop


def measure_beside_reference(self: Any, request: Any, queue: Any) -> tuple[list[float], float, int]:
    """What benchmark_app does when its network is compiled and has run once.

    Returns:
        Sorted milliseconds of the inferences that count, the seconds that these took together, and how many they are.
    """
    turns = Alternating(request, globals()["ask"], self, limit_ms)
    _, total_s, _ = plain(self, turns, queue)
    measured["pairs"] = turns.pairs
    return sorted(turns.latencies), total_s - turns.apart_s, len(turns.latencies)


def measure_alone(self: Any, requests: Any, queue: Any, *others: Any) -> Any:
    """What benchmark_app does when its network is compiled and has run once."""
    return plain_loop(self, requests, Limited(queue, self, limit_ms), *others)


def keep_core(self: Any, *arguments: Any, **named: Any) -> None:
    """Keeps OpenVINO's core to the end of the process: MULTI's threads outlive it, and crash where it unloads MULTI."""
    plain_init(self, *arguments, **named)
    Benchmark.kept_core = self.core


Benchmark.__init__ = keep_core
if mode == "beside":
    Benchmark.sync_inference = measure_beside_reference
elif limit_ms < math.inf:
    Benchmark.main_loop = measure_alone
main()
measured["peak"] = _memory_bytes("VmHWM")
(folder / "measured.json").write_text(json.dumps(measured))
