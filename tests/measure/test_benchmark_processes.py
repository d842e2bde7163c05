"""Processes that are forked from a server: each is new, and none outlives what asked for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from qnas_ov.measure._benchmark_processes import BenchmarkProcesses, TimedOutError


@pytest.fixture
def processes() -> Iterator[BenchmarkProcesses]:
    found = BenchmarkProcesses()
    yield found
    found.close()


def run(processes: BenchmarkProcesses, folder: Path, source: str, *arguments: str, timeout_s: float = 60.0) -> str:
    """What a program printed, and its exit code at the end."""
    (folder / "program.py").write_text(source)
    code = processes.run(folder / "program.py", arguments, output=folder / "said.txt", timeout_s=timeout_s)
    return f"{(folder / 'said.txt').read_text()}{code}"


def test_a_process_is_what_python_would_start(
    processes: BenchmarkProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIVEN", "yes")
    monkeypatch.chdir(tmp_path)
    source = "import os, sys; print(__name__, *sys.argv[1:], os.environ.get('GIVEN'), os.getcwd(), sys.stdin.read())"
    assert run(processes, tmp_path, source, "a", "b c") == f"__main__ a b c yes {tmp_path} \n0"
    monkeypatch.delenv("GIVEN")
    assert " None " in run(processes, tmp_path, source)


def test_a_process_may_ask_in_between(processes: BenchmarkProcesses, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("print([ask(str(i)) for i in range(3)])")
    output = tmp_path / "said.txt"
    asked: list[str] = []

    def answer(question: str) -> str:
        asked.append(question)
        return f"{question} times"

    code = processes.run(tmp_path / "program.py", [], output=output, timeout_s=60.0, answer=answer)
    assert (code, asked) == (0, ["0", "1", "2"])
    assert output.read_text() == "['0 times\\n', '1 times\\n', '2 times\\n']\n"


def test_time_runs_anew_after_every_answer(processes: BenchmarkProcesses, tmp_path: Path) -> None:
    run(processes, tmp_path, "")  # the server is loaded
    (tmp_path / "program.py").write_text("import time\nfor _ in range(6):\n    time.sleep(0.5)\n    ask('')")
    output = tmp_path / "said.txt"
    code = processes.run(tmp_path / "program.py", [], output=output, timeout_s=2.0, answer=lambda question: "on")
    assert code == 0, "after three seconds"


def test_nothing_is_left_behind(processes: BenchmarkProcesses, tmp_path: Path) -> None:
    """Not even the process that OpenVINO's telemetry forks from the server."""
    server = psutil.Process(int(run(processes, tmp_path, "import os; print(os.getppid())").split()[0]))
    left = server.children(recursive=True)
    for child in left:
        wait_until_gone(child.pid)


def test_processes_do_not_see_each_other(processes: BenchmarkProcesses, tmp_path: Path) -> None:
    source = "import os, sys; print(hasattr(sys, 'left')); sys.left = True"
    assert [run(processes, tmp_path, source) for _ in range(2)] == ["False\n0", "False\n0"]


@pytest.mark.parametrize(
    ("source", "end"),
    [
        ("import sys; sys.exit(3)", "3"),
        ("import sys; sys.exit('no such device')", "no such device\n1"),
        ("import os; os.abort()", f"-{signal.SIGABRT:d}"),
    ],
)
def test_how_a_process_ended_is_told(processes: BenchmarkProcesses, tmp_path: Path, source: str, end: str) -> None:
    assert run(processes, tmp_path, source) == end


def test_an_exception_leaves_its_traceback(processes: BenchmarkProcesses, tmp_path: Path) -> None:
    said = run(processes, tmp_path, "1 / 0")
    assert "ZeroDivisionError" in said
    assert said.endswith("1")


def test_too_slow_a_process_is_killed(processes: BenchmarkProcesses, tmp_path: Path) -> None:
    source = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    run(processes, tmp_path, "")  # the server stands
    with pytest.raises(TimedOutError):
        run(processes, tmp_path, source, timeout_s=1.0)
    number = int((tmp_path / "said.txt").read_text())
    wait_until_gone(number)
    assert run(processes, tmp_path, "print('again')") == "again\n0"


def test_a_server_that_was_killed_is_started_again(processes: BenchmarkProcesses, tmp_path: Path) -> None:
    first = run(processes, tmp_path, "import os; print(os.getppid())").split()[0]
    os.kill(int(first), signal.SIGKILL)
    assert run(processes, tmp_path, "import os; print(os.getppid())").split()[0] != first


def test_a_server_that_dies_at_work_fails_the_run(processes: BenchmarkProcesses, tmp_path: Path) -> None:
    source = "import os, signal; os.kill(os.getppid(), signal.SIGKILL)"
    assert run(processes, tmp_path, source).endswith(f"-{signal.SIGKILL:d}")
    assert run(processes, tmp_path, "print('again')") == "again\n0"


def test_variables_of_libraries_start_another_server(
    processes: BenchmarkProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for name, value in (("ANY", "1"), ("OMP_NUM_THREADS", "7"), ("ANY", "2")):
        monkeypatch.setenv(name, value)
        found.append(run(processes, tmp_path, "import os; print(os.getppid())"))
    assert found[0] != found[1]
    assert found[1] == found[2]


INTERRUPTED = """
import signal
import sys
from pathlib import Path
from qnas_ov.measure._benchmark_processes import BenchmarkProcesses

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by what a shell starts in the background
program, said = map(Path, sys.argv[1:])
try:
    BenchmarkProcesses().run(program, [], output=said, timeout_s=600.0)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_takes_the_process_with_it(tmp_path: Path) -> None:
    """Not in the process of the tests, whose own interrupt this would be."""
    program, said = tmp_path / "program.py", tmp_path / "said.txt"
    program.write_text("import os, time; print(os.getpid(), flush=True); time.sleep(600)")
    waiting = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(program), str(said)], stdout=subprocess.PIPE, text=True
    )
    for _ in range(600):
        if said.exists() and said.read_text().endswith("\n"):
            break
        time.sleep(0.1)
    waiting.send_signal(signal.SIGINT)
    assert waiting.communicate(timeout=60)[0] == "interrupted\n"
    wait_until_gone(int(said.read_text()))


def wait_until_gone(number: int) -> None:
    for _ in range(100):
        if not psutil.pid_exists(number) or psutil.Process(number).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.1)
    raise AssertionError(f"process {number} still runs")
