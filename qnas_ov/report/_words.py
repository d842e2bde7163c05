"""Numbers and results in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

from qnas_ov.report._run import Run


def number(value: Any, digits: int) -> str:
    """A number with a fixed count of decimals, a dash where there is none."""
    if not isinstance(value, Real) or not math.isfinite(value):
        return "–"
    return f"{float(value):.{digits}f}"


def signed(value: Any, digits: int) -> str:
    """A difference with its sign, and a real minus."""
    text = number(value, digits)
    if text == "–":
        return text
    return f"−{text[1:]}" if text.startswith("-") else f"+{text}"


def times(value: Any) -> str:
    """A ratio, for instance "2.28×"."""
    text = number(value, 2)
    return text if text == "–" else f"{text}×"


def chance(p: Any) -> str:
    """The p value of a test, for instance "p = 0.62"."""
    return "p < 0.01" if isinstance(p, Real) and p < 0.01 else f"p = {number(p, 2)}"


def label_of(column: str) -> str:
    """A column of a table as people write it: "accuracy top-1", "latency ms"."""
    return column.replace("top1", "top-1").replace("top5", "top-5").replace("_", " ")


def duration(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def summarise(run: Run, picks: Mapping[str, str]) -> list[str]:
    """A finished run in sentences.

    Args:
        run: The run.
        picks: What each rule of `qnas-ov package` chooses.
    """
    assert run.front is not None
    front, test = run.front, f"test_{run.metric}"
    metric = label_of(run.metric)
    spread = (
        f"{len(front)} network{'s' if len(front) > 1 else ''} on the verified front: latency from "
        f"{number(front['latency_ms'].min(), 3)} to {number(front['latency_ms'].max(), 3)} ms, test {metric} from "
        f"{number(front[test].min(), 4)} to {number(front[test].max(), 4)}, size from "
        f"{number(front['size_bytes'].min() / 1e6, 2)} to {number(front['size_bytes'].max() / 1e6, 2)} MB."
    )
    sentences = [spread, _against_int8(run)]
    if "knee" in picks:
        sentences.append(f"Asked for nothing else, qnas-ov package takes the knee: {picks['knee']}.")
    last = [run.found_at(str(n)) or 0 for n in front["candidate"]]
    sentences.append(
        f"The search measured {len(run.searched)} candidates out of some {_power(run.space.log10_candidates)} in "
        f"{duration(run.measuring_seconds)} of measuring, and found the last network of the front at evaluation "
        f"{max(last)}."
    )
    return sentences


def _power(log10: float) -> str:
    """A count from its decimal logarithm: whole as far as people read it so."""
    if log10 < 5:
        return f"{10**log10:.0f}"
    return "10" + f"{log10:.0f}".translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def best_no_worse(run: Run) -> Mapping[str, Any] | None:
    """The fastest network of the front that is no less accurate than the all-INT8 network on test data."""
    assert run.front is not None
    safe = run.front[run.front["test_delta_vs_int8"] >= 0]
    return None if safe.empty else dict(safe.loc[safe["latency_ms"].idxmin()])


def _against_int8(run: Run) -> str:
    best = best_no_worse(run)
    if best is None:
        return "No network of the front reaches the accuracy of the all-INT8 network on test data."
    return (
        f"{best['candidate']} is the fastest that is no less accurate than the all-INT8 network on test data "
        f"({signed(best['test_delta_vs_int8'], 4)}, {chance(best['test_p_vs_int8'])}): "
        f"{number(best['speedup_vs_int8'], 2)} times as fast as the fastest all-INT8 network, "
        f"{number(best['speedup_vs_f32'], 2)} times as fast as float f32, and "
        f"{number(1 / best['size_ratio_vs_int8'], 2)} times the size of all-INT8."
    )
