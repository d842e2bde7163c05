"""`qnas-ov benchmark`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import click

from qnas_ov.commands._options import LATENCY_DB, percent
from qnas_ov.terminal import TerminalProgress, fail, print_benchmark


def _listed(context: click.Context, option: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Words separated by commas."""
    words = tuple(word.strip() for word in (value or "").split(",") if word.strip())
    if value is not None and not words:
        raise click.BadParameter(f"'{value}' must hold at least one value")
    return words


def _numbers(context: click.Context, option: click.Parameter, value: str | None) -> tuple[int, ...]:
    """Whole numbers separated by commas."""
    words = _listed(context, option, value)
    if not all(word.isdigit() for word in words):
        raise click.BadParameter(f"'{value}' must be whole numbers separated by commas, for instance 1,8")
    return tuple(int(word) for word in words)


@click.command(short_help="Measure networks and write a report to pass around.")
@click.argument("networks", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--device", default="CPU", show_default=True, help="A device that OpenVINO lists, see `qnas-ov doctor`.")
@click.option("--hint", default="latency", callback=_listed, show_default=True, help="latency, throughput, or both.")
@click.option("--batch", default="1", callback=_numbers, show_default=True, help="Samples per inference: 1,8.")
@click.option(
    "--inference-precision",
    callback=_listed,
    help="f32,bf16 or one of them.  [default: a candidate's own, else what the device runs by default]",
)
@click.option("--shape", help="Whole shapes where axes other than the batch are dynamic: 'ids[1,128],mask[1,128]'.")
@click.option("--reference", help="Network that speed-ups are against.  [default: the first]")
@click.option("--streams", type=click.IntRange(min=1), help="Inferences at the same time.  [default: by the hint]")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the CPU.  [default: by the hint]")
@click.option("--percentile", default="90", callback=_numbers, show_default=True, help="Further percentiles: 90,99.")
@click.option("--processes", type=click.IntRange(min=1), default=3, show_default=True, help="Fewest per network.")
@click.option("--latency-precision", type=percent, help="Adds processes until latencies are known to this, say 2%.")
@click.option("--max-processes", type=click.IntRange(min=1), default=15, show_default=True, help="Most per network.")
@click.option("--time-limit", type=click.FloatRange(min=0, min_open=True), help="Seconds after which none is added.")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True, max=600),
    default=0.5,
    show_default=True,
    help="Measuring time of a process on the reference.",
)
@click.option("--profile/--no-profile", default=True, help="Whether to look where the time goes.  [default: profile]")
@LATENCY_DB
@click.option("--out", type=click.Path(path_type=Path), help="New folder.  [default: benchmark-TIME]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def benchmark(networks: tuple[Path, ...], out: Path | None, as_json: bool, **options: Any) -> None:
    """Measure NETWORKS (.xml files, packages, run folders) and write a report to pass around.

    Example: qnas-ov benchmark float.xml int8.xml --batch 1,8 --inference-precision f32,bf16
    """  # fmt: skip
    from qnas_ov.measure import RoundPlan
    from qnas_ov.pipeline import check_request, run_benchmark

    request = check_request(
        device=options["device"],
        hints=options["hint"],
        batches=options["batch"],
        precisions=options["inference_precision"],
        shape=options["shape"],
        streams=options["streams"],
        threads=options["threads"],
    )
    plan = RoundPlan(
        minimum=options["processes"],
        maximum=max(options["processes"], options["max_processes"]),
        precision=options["latency_precision"],
        time_limit_s=options["time_limit"],
    )
    result = run_benchmark(
        networks,
        request,
        out=out or Path(f"benchmark-{time.strftime('%Y%m%d-%H%M%S')}"),
        plan=plan,
        seconds=options["seconds"],
        percentiles=options["percentile"],
        reference=options["reference"],
        profile=options["profile"],
        latency_db=options["latency_db"],
        progress=TerminalProgress(),
    )
    if as_json:
        click.echo(json.dumps(result.document, indent=2))
    else:
        print_benchmark(result)
    if all(row["status"] != "ok" for row in result.rows):
        fail("no network could be measured")
        sys.exit(1)
