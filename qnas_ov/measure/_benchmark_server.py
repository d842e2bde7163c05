"""The process that benchmark_app's processes are forked from: Python, OpenVINO and the tool are loaded once, in here.

Nothing of qnas-ov is imported. Run as `python -c SOURCE`, so that no folder of ours comes onto the module path. Every
line on standard input is a JSON object with the `program` to run, its `arguments`, its `environment` and `folder`, and
the file for its `output`; for each, a line tells that it began and another its exit code. In between, the program's
`ask` writes a question and reads a line with the answer. No device is opened in here: a process gets its own.
"""

import ctypes
import json
import os
import signal
import sys
import traceback
from typing import Any

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """An orphan would disturb what is measured next."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def run(task: dict[str, Any]) -> int:
    """In the fork: the program, as if Python had been started with it."""
    die_with_parent()
    answers, questions = os.fdopen(os.dup(0)), os.dup(1)

    def ask(question: str) -> str:
        os.write(questions, f"asks {question}\n".encode())
        return answers.readline()

    os.environ.clear()
    os.environ.update(task["environment"])
    os.chdir(task["folder"])
    output = os.open(task["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, target)
    sys.argv = ["benchmark_app", *task["arguments"]]
    with open(task["program"]) as file:
        source = file.read()
    try:
        exec(compile(source, task["program"], "exec"), {"__name__": "__main__", "ask": ask})  # noqa: S102 - our own file
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # as the interpreter does at its end
        traceback.print_exc()
        return 1
    return 0


def read_line() -> bytes:
    """The next line of standard input, empty at its end; not by `sys.stdin`, which is locked while it waits.

    OpenVINO's telemetry forks from a thread, and its process would wait for that lock for ever.
    """
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(0, 1 << 16)
        if not part:
            return b""
        line += part
    return line


def serve() -> None:
    """Forks and waits, line by line."""
    die_with_parent()
    import openvino.tools.benchmark.main  # noqa: F401 - what every process needs

    while line := read_line():
        print("began", flush=True)  # before the fork, whose questions come after it
        child = os.fork()
        if child == 0:
            code = run(json.loads(line))
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        print("ended", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


serve()
