"""What all benchmarks share: options, the table on the terminal, the JSON with figures, goals and the machine."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qnas_ov.measure import describe_machine


@dataclass(frozen=True)
class Goal:
    """A goal for a figure, and whether it is met; a missed goal stays in the table as missed."""

    goal: str
    value: float
    met: bool


def at_least(value: float, bound: float) -> Goal:
    return Goal(f">= {bound:g}", value, value >= bound)


def at_most(value: float, bound: float) -> Goal:
    return Goal(f"<= {bound:g}", value, value <= bound)


@dataclass(frozen=True)
class Outcome:
    """What a benchmark found: figures, goals, tables (title -> rows), and the machine if it is not this one."""

    figures: Mapping[str, float]
    goals: Mapping[str, Goal]
    tables: Mapping[str, list[dict[str, Any]]]
    machine: Mapping[str, Any] | None = None


def parser(description: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--quick", action="store_true", help="a smaller run of the same shape, within five minutes")
    options.add_argument("--json", type=Path, metavar="FILE", help="write figures, goals, tables and machine here")
    return options


def main(options: argparse.ArgumentParser, run: Callable[[argparse.Namespace], Outcome]) -> None:
    """Runs a benchmark, prints its goals and tables, and writes its JSON."""
    arguments = options.parse_args()
    outcome = run(arguments)
    for title, rows in outcome.tables.items():
        print(f"\n{title}")
        print_table(rows)
    print("\ngoals")
    print_table([{"figure": n, **asdict(g)} for n, g in outcome.goals.items()])
    if arguments.json is not None:
        document = {
            "command": shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
            "figures": dict(outcome.figures),
            "goals": {n: asdict(g) for n, g in outcome.goals.items()},
            "tables": dict(outcome.tables),
            "machine": outcome.machine or describe_machine("CPU"),
        }
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")


def require_cpu(measured_on: str, place: Path) -> None:
    """Ends the program where kept measurements are another CPU's: those of two machines are never mixed."""
    here = describe_machine("CPU")["cpu"]
    if measured_on != here:
        raise SystemExit(f"{place} was measured on {measured_on}, here is {here}: go on there, or give another place")


def peak_memory_gb() -> float:
    """Most memory that this process has held, in 10^9 bytes; `getrusage` would count that of its parent too."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e9
    raise RuntimeError("this kernel does not tell a process's peak memory")


def print_table(rows: list[dict[str, Any]]) -> None:
    """Prints rows in aligned columns; a row may lack some."""
    if not rows:
        return
    header = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row.get(name, "")) for name in header] for row in rows]
    widths = [max(len(header[i]), *(len(r[i]) for r in cells)) for i in range(len(header))]
    for line in (header, *cells):
        print("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)))


def _cell(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    return f"{value:.4g}"
