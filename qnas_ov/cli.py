"""The command line: parses, calls the pipeline, prints. No logic lives here."""

from __future__ import annotations

import json
import re
import shlex
import sys
import time
import webbrowser
from pathlib import Path
from typing import Any

import click

from qnas_ov import __version__
from qnas_ov.commands import DATA, LATENCY_DB, MODEL, NETWORK, SETTINGS, benchmark, options
from qnas_ov.core.errors import QnasError
from qnas_ov.terminal import (
    INTERRUPTION,
    TerminalProgress,
    fail,
    print_examination,
    print_models,
    print_package,
    print_package_check,
    print_result,
    print_sensitivity,
    print_training,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="qnas-ov")
def cli() -> None:
    """Search a network's architecture and INT8/float policy together, with real latency, for OpenVINO.

    Example: qnas-ov search --model digits-vit --device CPU
    """


_PATH = click.Path(path_type=Path)


@cli.command()
@SETTINGS
@click.option("--recipe", type=_PATH, help="YAML file with settings; options override it.")
@click.option("--out", type=_PATH, help="Run folder.  [default: runs/MODEL-TIME]")
@click.option("--resume", is_flag=True, help="Continue the run in --out; nothing is measured twice.")
@LATENCY_DB
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def search(
    recipe: Path | None, out: Path | None, resume: bool, latency_db: str | None, as_json: bool, **options: Any
) -> None:
    """Search, verify and package.

    Example: qnas-ov search --model digits-vit --device CPU --max-drop 0.01 --out runs/digits
    """
    from qnas_ov.core.errors import InputError
    from qnas_ov.pipeline import run_search
    from qnas_ov.recipe import read_recipe_file

    given = {name: value for name, value in options.items() if value not in (None, ())}
    origin = "the options"
    if recipe is not None:
        origin = f"{recipe} and the options" if given else str(recipe)
        given = {**read_recipe_file(recipe), **given}
    if resume and out is None:
        raise InputError("--resume needs --out: give the folder of the run to continue")
    name = Path(str(given.get("model", "run"))).stem
    folder = out or Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    try:
        result = run_search(
            given, out=folder, resume=resume, progress=TerminalProgress(), origin=origin, latency_db=latency_db
        )
    except KeyboardInterrupt:
        if (folder / "recipe.yaml").exists():
            command = sys.argv[0] if Path(sys.argv[0]).name == "qnas-ov" else "qnas-ov"
            again = shlex.join([command, "search", "--resume", "--out", str(folder)])
            fail(f"stopped; every measurement so far is kept: continue with `{again}`")
        else:
            fail("stopped before anything was measured")
        sys.exit(130)
    if as_json:
        document = {
            "folder": str(result.folder),
            "front": json.loads(result.front.to_json(orient="records")),
            "baselines": json.loads(result.baselines.to_json(orient="records")),
            "predictors": {c: {k: v for k, v in r.items() if k != "points"} for c, r in result.predictors.items()},
        }
        click.echo(json.dumps(document, indent=2))
    else:
        print_result(result)


@cli.command(short_help="Show what INT8 costs each layer.")
@NETWORK
@click.option("--inference-precision", help="auto, f32 or bf16.  [default: auto, what the device runs by default]")
@click.option("--samples", type=click.IntRange(min=2), help="Validation samples per unit; all if left out.")
@click.option("--latency/--no-latency", default=True, help="Whether to measure what INT8 saves.  [default: latency]")
@click.option("--out", type=_PATH, help="New folder for a page, CSV, JSON, and the policy's network.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def sensitivity(out: Path | None, samples: int | None, latency: bool, as_json: bool, **options: Any) -> None:
    """Show what INT8 costs each precision unit, and the nncf.IgnoredScope for a --max-drop or --max-error.

    Example: qnas-ov sensitivity --model model.xml --data samples.npz --max-drop 0.01
    """
    from qnas_ov.pipeline import run_sensitivity

    given = {name: value for name, value in options.items() if value not in (None, ())}
    result = run_sensitivity(
        given, out=out, samples=samples, latency=latency, progress=TerminalProgress(), origin="the options"
    )
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=2))
    else:
        print_sensitivity(result)
        if out is not None:
            click.echo(f"report: {out / 'sensitivity.html'}")


def _parse_size(context: click.Context, option: click.Parameter, value: str | None) -> tuple[int, int] | None:
    match = re.fullmatch(r"([1-9][0-9]*)x([1-9][0-9]*)", value or "1x1")
    if match is None:
        raise click.BadParameter(f"'{value}' is not HEIGHTxWIDTH, for instance 480x640")
    return None if value is None else (int(match[1]), int(match[2]))


@cli.command(short_help="Package a candidate for a server.")
@click.argument("run", type=_PATH)
@click.option(
    "--select",
    default="knee",
    show_default=True,
    metavar="RULE|ID",
    help="fastest, smallest, most-accurate, knee, or a candidate's id; accuracy is that on validation data.",
)
@click.option("--max-drop", type=float, help="Largest loss of validation accuracy against f32: 0.01 is one point.")
@click.option(
    "--format",
    required=True,
    type=click.Choice(["ovms", "triton", "kserve", "optimum", "ir"]),
    help="OpenVINO Model Server, Triton, MLServer (KServe v2), optimum-intel, or the bare IR.",
)
@click.option(
    "--embed-preprocessing/--no-embed-preprocessing",
    "embed",
    default=None,
    help="Whether the network takes images as bytes, or text, instead of tensors.  [default: for ovms, triton (images "
    "only) and kserve, where the candidate has an image processor or a tokenizer]",
)
@click.option("--image-size", callback=_parse_size, help="HEIGHTxWIDTH of all images; any size if left out.")
@click.option("--color", type=click.Choice(["rgb", "bgr"]), default="rgb", help="Of the images.  [default: rgb]")
@click.option("--batch", type=click.IntRange(min=1), help="Samples per inference; any number if left out.")
@click.option("--static", is_flag=True, help="The same as --batch 1.")
@click.option("--name", help="Name of the model on the server; the network's own if left out.")
@click.option("--samples/--no-samples", default=True, help="Whether test samples, at most 64, come along for `verify`.")
@click.option("--out", type=_PATH, help="New folder.  [default: RUN/packages/CANDIDATE-FORMAT]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def package(
    run: Path, embed: bool | None, image_size: tuple[int, int] | None, color: str, batch: int | None, static: bool,
    samples: bool, as_json: bool, **options: Any,
) -> None:  # fmt: skip
    """Package a candidate of the finished RUN for a server.

    Example: qnas-ov package runs/digits --select fastest --max-drop 0.01 --format ovms --batch 1
    """
    from qnas_ov.pipeline import InputSettings, run_package

    if static and batch not in (None, 1):
        raise click.UsageError("--static is --batch 1: leave one of them out")
    inputs = InputSettings(
        embed=embed, image_size=image_size, color=color, batch=1 if static else batch, samples=samples
    )
    result = run_package(run, inputs=inputs, **options)
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=2))
    else:
        print_package(result)


@cli.command(short_help="Check a package and repeat its accuracy.")
@click.argument("package", type=_PATH)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def verify(package: Path, as_json: bool) -> None:
    """Check a PACKAGE's digests, load it, and repeat its accuracy on its recorded samples.

    Example: qnas-ov verify runs/digits/packages/c032-ovms
    """
    from qnas_ov.pipeline import verify_package

    result = verify_package(package)
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=2))
    else:
        print_package_check(result)


@cli.command(short_help="Render the page of a run, or compare runs.")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=_PATH)
@click.option("--out", type=_PATH, help="An .html.  [default: RUN/report.html; of several comparison.html]")
@click.option("--open", "show", is_flag=True, help="Open the page in a browser.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def report(runs: tuple[Path, ...], out: Path | None, show: bool, as_json: bool) -> None:
    """Render the page of a RUN again, finished or not, or compare several finished ones.

    Example: qnas-ov report runs/laptop runs/server --out laptop-server.html
    """
    from qnas_ov.pipeline import run_report

    result = run_report(runs, out=out)
    click.echo(json.dumps(result.to_json(), indent=2) if as_json else f"report: {result.page}")
    if show and not webbrowser.open(result.page.resolve().as_uri()):
        fail(f"no browser could be opened: open {result.page} yourself")


_TRAINING = options(
    click.option("--out", required=True, type=_PATH, help="New folder for the weights."),
    click.option("--resume", is_flag=True, help="Continue the training in --out; the result is the same."),
    click.option("--init", type=_PATH, help="Folder with weights to start from.  [default: the model's own]"),
    click.option("--from-scratch", is_flag=True, help="Start from random weights; the folder needs none."),
    click.option("--train-device", default="auto", help="auto, cpu, cuda or xpu.  [default: auto]"),
    click.option("--bf16/--no-bf16", default=None, help="Multiply matrices in bf16.  [default: where it helps]"),
    click.option("--cycles", type=int, help="Runs of the learning-rate schedule.  [default: 1; digits-vit 4]"),
    click.option("--epochs", type=int, help="Passes over the data per cycle.  [default: 10; digits-vit 110]"),
    click.option("--teacher-epochs", type=int, help="Passes that fine-tune the largest alone first.  [default: 0]"),
    click.option("--batch-size", type=int, help="Samples per pass.  [default: 32]"),
    click.option("--accumulate", type=int, help="Batches per step.  [default: 1]"),
    click.option("--learning-rate", type=float, help="Peak of the schedule.  [default: 5e-5; digits-vit 1e-3]"),
    click.option("--num-random", type=int, help="Random subnetworks per step.  [default: 1; digits-vit 2]"),
    click.option("--alpha", type=float, help="Weight of the labels against the teacher.  [default: 0.3]"),
    click.option("--teacher/--no-teacher", default=None, help="Learn from the network as it was.  [default: yes]"),
    click.option("--order/--no-order", default=None, help="Order channels by importance first.  [default: yes]"),
    click.option("--augment/--no-augment", default=None, help="Move images.  [default: no; digits-vit yes]"),
    click.option("--seed", type=int, help="Seed of everything random.  [default: 0]"),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout."),
)  # fmt: skip


@cli.command(short_help="Train a model as a supernet.")
@MODEL
@DATA
@_TRAINING
def train(
    out: Path, resume: bool, init: Path | None, from_scratch: bool, train_device: str, bf16: bool | None,
    as_json: bool, **settings: Any,
) -> None:  # fmt: skip
    """Train a model as a supernet, whose smaller networks are accurate too.

    Example: qnas-ov train --model digits-vit --out digits-vit-weights
    """
    from qnas_ov.core.errors import InputError
    from qnas_ov.pipeline import TrainOptions, run_training, split_settings

    given, changes = split_settings({name: value for name, value in settings.items() if value not in (None, ())})
    if "model" not in given and not resume:
        raise InputError("a model to train must be named: add --model, or --resume to continue the training in --out")
    options, progress = TrainOptions(init, from_scratch, train_device, bf16), TerminalProgress()
    try:
        result = run_training(given, out=out, settings=changes, options=options, resume=resume, progress=progress)
    except KeyboardInterrupt:
        again = shlex.join(["qnas-ov", "train", "--resume", "--out", str(out)])
        fail(f"stopped; continue with `{again}`" if out.exists() else "stopped before anything was trained")
        sys.exit(130)
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=2))
    else:
        print_training(result)


@cli.command(short_help="List the models that can be named.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def models(as_json: bool) -> None:
    """List the models that can be named, and whether their weights are here already.

    Example: qnas-ov models
    """
    from qnas_ov.pipeline import list_models

    rows = list_models()
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        print_models(rows)


@cli.command(short_help="Check this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def doctor(as_json: bool) -> None:
    """Check this machine: versions, devices, CPU flags, a broken torchvision, offline state.

    Example: qnas-ov doctor
    """
    from qnas_ov.doctor import examine

    report = examine()
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        print_examination(report)
    sys.exit(1 if report["problems"] else 0)


cli.add_command(benchmark)


def main() -> None:
    """Entry point: errors of ours become one sentence and an exit code."""
    INTERRUPTION.install()
    try:
        cli.main(prog_name="qnas-ov", standalone_mode=False)
    except QnasError as error:
        fail(str(error))
        sys.exit(error.exit_code)
    except OSError as error:
        place = f" '{error.filename}'" if error.filename else ""
        fail(f"cannot read or write{place}: {error.strerror or error}; check the path, its rights and the free space")
        sys.exit(2)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx is not None else "qnas-ov"
        message = " ".join(error.format_message().split()).rstrip(".")  # choices come in lines of their own
        fail(f"{message}; `{command} --help` tells what there is")
        sys.exit(2)
    except click.ClickException as error:
        fail(error.format_message())
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        fail("stopped")
        sys.exit(130)


if __name__ == "__main__":
    main()
