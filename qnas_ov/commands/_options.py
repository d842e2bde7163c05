"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def options(*chosen: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator."""

    def decorate(command: F) -> F:
        for option in reversed(chosen):
            command = option(command)
        return command

    return decorate


def percent(text: str) -> float:
    """A share between 0 and 1, written as "2%" or 0.02."""
    try:
        share = float(text.strip().removesuffix("%")) / (100.0 if text.strip().endswith("%") else 1.0)
    except ValueError:
        share = float("nan")
    if not 0.0 < share < 1.0:
        raise click.BadParameter(f"'{text}' must lie between 0% and 100%: write for instance 2%")
    return share


LATENCY_DB = click.option(
    "--latency-db", metavar="PATH|none", help="Database of latencies measured before.  [default: in your cache folder]"
)
MODEL = options(
    click.option(
        "--model",
        help="A model of `qnas-ov models`, an .xml, an .onnx, a Hugging Face folder, or an id of the hub: owner/name.",
    ),
    click.option("--revision", help="Branch, tag or commit of a model on the hub.  [default: the main branch]"),
)
DATA = options(
    click.option("--dataset", help="Registered data set, or id of one on the hub; the model's own if left out."),
    click.option("--data", help="Your data: a folder of images by class, a .csv or .jsonl of texts, an .npz, ..."),
    click.option("--text-column", multiple=True, help="Column of the texts; twice for pairs.  [default: guessed]"),
    click.option("--label-column", help="Column of the labels.  [default: guessed]"),
    click.option("--max-samples", type=int, help="Most samples of validation and of test.  [default: 500]"),
    click.option("--truncate", is_flag=True, default=None, help="Cut texts that are longer than the network takes."),
)
NETWORK = options(
    MODEL,
    click.option(
        "--policy-only", is_flag=True, default=None,
        help="Keep the architecture as it is, although its family is known.",
    ),
    click.option(
        "--trust-remote-code", is_flag=True, default=None,
        help="Run the Python code that comes with a checkpoint. Only for code that you have read.",
    ),
    click.option("--device", help="OpenVINO device to measure on.  [default: CPU]"),
    DATA,
    click.option(
        "--metric",
        help="accuracy, top5, f1, f1-macro, matthews, spearman, agreement, cosine, fidelity, or your own as "
        "package.module:function.  [default: what suits the data]",
    ),
    click.option("--shape", help="Shapes of inputs with dynamic axes: ids[1,128],mask[1,128], or [1,128] for all."),
    click.option(
        "--merge-units", type=click.Choice(["none", "block"]),
        help="block: all precision units of a block share one precision.  [default: none]",
    ),
    click.option("--max-drop", type=float, help="Largest loss of accuracy against f32: 0.01 is one point."),
    click.option("--max-error", type=float, help="Largest output error, the distance to the float network's outputs."),
)  # fmt: skip

SETTINGS = options(
    NETWORK,
    click.option(
        "--objective", "objectives", multiple=True,
        help="accuracy, error, latency, throughput, memory_bytes, size, macs or params; give it once for each.  "
        "[default: accuracy latency size; without labels error latency size]",
    ),
    click.option(
        "--precision", "precisions", multiple=True,
        help="int8, w8 (INT8 weights only) or float: what units may run in; give it once for each.  "
        "[default: int8 float]",
    ),
    click.option("--evaluations", type=int, help="Candidates to measure.  [default: 250, or the model's own]"),
    click.option(
        "--first-samples", type=int,
        help="Validation samples a candidate is judged on first: all others follow if it may still reach the front.  "
        "[default: 128]",
    ),
    click.option("--time-limit", metavar="TIME", help="Ends the search after so much measuring: 90s, 30m, 1.5h."),
    click.option("--stall", type=int, help="Ends it where so many candidates widened the front by less than 0.1%."),
    click.option(
        "--algorithm", help="qnas, linas, random, nsga2, unsga3, age, moead, ctaea, ga or cmaes.  [default: qnas]"
    ),
    click.option("--population", type=int, help="Size of a round of linas, or a generation.  [default: 50, or less]"),
    click.option("--max-latency-ms", type=float, help="Largest latency."),
    click.option("--max-size-mb", type=float, help="Largest .bin in 10^6 bytes."),
    click.option("--inference-precision", help="auto, f32 or bf16.  [default: auto]"),
    click.option("--front-size", type=int, help="Candidates of the front to verify and package.  [default: 16]"),
    click.option(
        "--latency-precision", type=percent,
        help="Adds processes in the final rounds until latencies are known to this, for instance 2%.",
    ),
    click.option("--warm-from", metavar="RUN", help="Run folder whose measurements predictions begin with."),
    click.option("--seed", type=int, help="Seed of everything random but the splits.  [default: 0]"),
)  # fmt: skip
