"""Real benchmark_app processes without the time that Python takes to import it: forked from one that has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_PARENT = """
import json, os, sys, traceback
import openvino.tools.benchmark.main

for line in sys.stdin:
    source, arguments, folder, environment, output = json.loads(line)
    child = os.fork()
    if child == 0:
        file = os.open(output, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.chdir(folder)
        os.environ.update(environment)
        sys.argv = ["-c", *arguments]
        code = 0
        try:
            exec(compile(source, "<string>", "exec"), {"__name__": "__main__"})
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else bool(end.code)
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@contextmanager
def forked_benchmark_app(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Within it `subprocess.run` forks benchmark_app; all other programs start as ever."""
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    start = subprocess.run

    def run(command: Sequence[str], **settings: Any) -> subprocess.CompletedProcess[str]:
        if command[1:2] != ["-c"] or "openvino.tools.benchmark" not in command[2]:
            return start(command, **settings)
        assert parent.stdin is not None
        assert parent.stdout is not None
        descriptor, output = tempfile.mkstemp()
        os.close(descriptor)
        try:
            environment = {**os.environ, **(settings.get("env") or {})}
            request = [command[2], [str(a) for a in command[3:]], os.getcwd(), environment, output]
            parent.stdin.write(json.dumps(request) + "\n")
            code = int(parent.stdout.readline())
            return subprocess.CompletedProcess(command, code, stdout=Path(output).read_text())
        finally:
            Path(output).unlink()

    patch.setattr(subprocess, "run", run)
    try:
        yield
    finally:
        patch.setattr(subprocess, "run", start)
        assert parent.stdin is not None
        parent.stdin.close()
        parent.wait(timeout=30)
