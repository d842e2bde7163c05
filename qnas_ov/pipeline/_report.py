"""Pages about finished and unfinished runs, from what stands in their folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qnas_ov.core.errors import InputError
from qnas_ov.core.files import write_text
from qnas_ov.measure import describe_protocol
from qnas_ov.pipeline._select import RULES, select_candidate
from qnas_ov.pipeline._timing import final_plan
from qnas_ov.recipe import build_recipe
from qnas_ov.report import Run, check_comparable, read_run, render_comparison, render_run

PAGE, COMPARISON = "report.html", "comparison.html"
_ROUNDS = ("final_rounds", "latency_max_rounds", "latency_precision")


@dataclass(frozen=True)
class Report:
    """A page that was written.

    Attributes:
        page: The file.
        runs: The runs that it tells of.
        finished: Whether these are finished.
    """

    page: Path
    runs: tuple[Path, ...]
    finished: bool

    def to_json(self) -> dict[str, Any]:
        """The page as JSON."""
        return {**asdict(self), "page": str(self.page), "runs": [str(r) for r in self.runs]}


def run_report(folders: Sequence[Path], *, out: Path | None = None) -> Report:
    """Renders the page of a run, finished or not, or a comparison of several finished ones.

    Args:
        folders: One run folder, or several.
        out: A file that ends in .html; of one run `report.html` in its folder, of several `comparison.html` here.

    Raises:
        QnasError: If a folder is no run, a file of it is damaged, the runs do not compare, or the page cannot be
            written.
    """
    if not folders:
        raise InputError("a report needs a run: give the --out of a search")
    if len(folders) == 1:
        (folder,) = folders
        return Report(write_page(folder, out), (folder,), finished=(folder / "pareto.csv").exists())
    target = _checked_target(out or Path(COMPARISON))
    runs = [read_run(folder) for folder in folders]
    check_comparable(runs)
    write_text(target, render_comparison(runs, [_picks(run) for run in runs], [_protocol(run) for run in runs]))
    return Report(target, tuple(folders), finished=True)


def write_page(folder: Path, out: Path | None = None) -> Path:
    """Renders the page of the run in `folder`; arguments and errors as for `run_report`."""
    target = _checked_target(out or folder / PAGE)
    run = read_run(folder)
    write_text(target, render_run(run, _picks(run), _protocol(run)))
    return target


def _checked_target(path: Path) -> Path:
    """A page must not take the place of a table or a network."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out must be a file that ends in .html: got '{path}'; add the ending")
    if path.is_dir():
        raise InputError(f"--out '{path}' must be a file: it is a folder; name a file in it")
    return path


def _protocol(run: Run) -> list[str]:
    """How the latencies of the front come about, in sentences; of the recipe only what they depend on is checked.

    Raises:
        InputError: If these settings are none.
    """
    settings = {name: run.recipe[name] for name in _ROUNDS if name in run.recipe}
    recipe = build_recipe({"model": "any", **settings}, origin=str(run.folder / "recipe.yaml"))
    return describe_protocol(final_plan(recipe), iterations=None)


def _picks(run: Run) -> dict[str, str]:
    """What each rule of `qnas-ov package` chooses."""
    if run.front is None or run.baselines is None:
        return {}
    return {rule: select_candidate(run.front, run.baselines, metric=run.metric, select=rule) for rule in RULES}
