"""Processes of benchmark_app, forked from one that has loaded Python, OpenVINO and the tool, which saves time."""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

_SERVER = Path(__file__).with_name("_benchmark_server.py")
# Variables that are read when libraries are loaded; a process takes the others over when it is forked.
_READ_AT_START = (
    "LD_",
    "PYTHON",
    "GLIBC_",
    "MALLOC_",
    "OMP_",
    "KMP_",
    "OPENBLAS_",
    "TBB_",
    "OPENVINO_",
    "OV_",
    "ONEDNN_",
)


class TimedOutError(Exception):
    """A process did not end in time and was killed."""


class BenchmarkProcesses:
    """Runs one program after the other, each in a process of its own that `_benchmark_server.py` forks.

    The server starts with the first run, again where it died or where its forks would not be what a process started now
    would be (other CPUs, other variables of loaded libraries), and ends with this process, however that ends.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._server: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None
        self._origin: tuple[Any, ...] = ()
        atexit.register(self.close)

    def run(
        self,
        program: Path,
        arguments: Sequence[str],
        *,
        output: Path,
        timeout_s: float,
        answer: Callable[[str], str] | None = None,
    ) -> int:
        """Runs a Python program to its end.

        Args:
            program: Its source.
            arguments: Its arguments.
            output: File for what it prints.
            timeout_s: Most seconds, anew after every answer.
            answer: Answers the program's questions, a line each; it waits meanwhile.

        Returns:
            Its exit code, or minus the signal that ended it.

        Raises:
            TimedOutError: If it took longer; it is killed.
        """
        deadline = time.monotonic() + timeout_s
        task = {
            "program": str(program),
            "arguments": list(arguments),
            "output": str(output.resolve()),
            "folder": os.getcwd(),
            "environment": dict(os.environ),
        }
        with self._lock:
            try:
                if not self._begin(task, deadline):
                    self.close()
                    if not self._begin(task, deadline):
                        return self._end_of_server(output)
                while said := self._reply(deadline):
                    kind, text = said.split(" ", 1)
                    if kind == "ended":
                        return int(text)
                    assert answer is not None, "a program may only ask where somebody answers"
                    self._tell(answer(text.rstrip("\n")))
                    deadline = time.monotonic() + timeout_s
                return self._end_of_server(output)
            except BaseException:
                self.close()  # Ctrl-C too: the process goes with its server
                raise

    def close(self) -> None:
        """Ends the server, and with it the process that it runs."""
        if self._server is None:
            return
        if self._origin[:1] == (os.getpid(),):
            self._server.kill()
            self._server.wait()
        for pipe in (self._server.stdin, self._server.stdout, self._said):
            if pipe is not None:
                with pipe:
                    pass
        self._server = self._said = None

    def _begin(self, task: dict[str, Any], deadline: float) -> bool:
        """Hands a task to the server; False if it died before it took it."""
        variables = {name: value for name, value in os.environ.items() if name.startswith(_READ_AT_START)}
        origin = (os.getpid(), os.sched_getaffinity(0), variables)
        if self._server is None or self._server.poll() is not None or origin != self._origin:
            self.close()
            self._said = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the server
            self._server = subprocess.Popen(
                [sys.executable, "-c", _SERVER.read_text()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                bufsize=0,
                start_new_session=True,  # Ctrl-C reaches us alone, and we end it
                env={**os.environ, "PYTHONSAFEPATH": "1"},  # no module of the user's folder in place of a real one
            )
            self._origin = origin
        self._tell(json.dumps(task))
        return bool(self._reply(deadline))

    def _tell(self, line: str) -> None:
        assert self._server is not None
        assert self._server.stdin is not None
        with suppress(BrokenPipeError):  # where it died, it gives no reply either
            self._server.stdin.write(line.encode() + b"\n")

    def _reply(self, deadline: float) -> str:
        """The server's next line; empty if it died."""
        assert self._server is not None
        assert self._server.stdout is not None
        if not select.select([self._server.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise TimedOutError
        return self._server.stdout.readline().decode()

    def _end_of_server(self, output: Path) -> int:
        """The exit code of a server that died; its last words go where its process would have printed."""
        assert self._server is not None
        assert self._said is not None
        code = self._server.wait()
        self._said.seek(0)
        with output.open("ab") as file:
            file.write(self._said.read())
        self.close()
        return code or 1
