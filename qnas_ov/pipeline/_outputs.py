"""What a run leaves behind, and how it is read back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from qnas_ov.core.errors import InputError, RunFolderError
from qnas_ov.core.files import atomic_folder, write_json, write_text
from qnas_ov.deploy import InputSettings, write_layout, write_package
from qnas_ov.ir import save_ir, weights_digest
from qnas_ov.pipeline._report import write_page
from qnas_ov.pipeline._run_folder import RunFolder
from qnas_ov.pipeline._samples import SampleRecorder, rescore
from qnas_ov.pipeline._select import select_candidate
from qnas_ov.pipeline._setup import Network, Setup, describe_limits
from qnas_ov.pipeline._verify import Verified
from qnas_ov.tasks import image_preprocessing

BASELINES = "baselines"
"""Folder of a run that holds the unsearched network."""

_FINISHED = ("space.json", "predictors.json", "baselines.csv", "pareto.csv")
_SAME_MACHINE = ("device_name", "cpu", "flags", "cores_usable", "packages")


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Attributes:
        folder: The run folder.
        front: The verified, measured Pareto front (`pareto.csv`).
        baselines: The unsearched network, verified likewise (`baselines.csv`).
        predictors: Scores of the predictors (`predictors.json`).
        metric: Column of the accuracy, for instance "accuracy_top1".
    """

    folder: Path
    front: pd.DataFrame
    baselines: pd.DataFrame
    predictors: dict[str, Any]
    metric: str

    def select(self, select: str, *, max_drop: float | None = None) -> str:
        """Chooses a candidate of the front by "fastest", "smallest", "most-accurate", "knee", or checks an id.

        Args:
            select: The rule or id; rules judge accuracy on validation data.
            max_drop: Largest loss of the metric against the float network under f32, both on validation data.

        Raises:
            UnknownNameError: If it is neither a rule nor a candidate.
            ConstraintError: If no candidate keeps `max_drop`.
        """
        return select_candidate(self.front, self.baselines, metric=self.metric, select=select, max_drop=max_drop)

    def package(
        self,
        select: str,
        destination: str | Path,
        *,
        format: str | None = None,
        max_drop: float | None = None,
        name: str | None = None,
        inputs: InputSettings | None = None,
    ) -> Path:
        """Packages a front candidate.

        Args:
            select: Its id in `front`, or a rule: "fastest", "smallest", "most-accurate" or "knee".
            destination: A folder that does not exist yet.
            format: "ovms", "triton", "kserve", "optimum" or "ir", see `qnas_ov.deploy.write_layout`; None copies
                `deploy/<candidate>` as it is.
            max_drop: Largest loss of the metric against the float network under f32, both on validation data.
            name: Name of the model on the server; the network's own if left out.
            inputs: What the package takes: images, text or tensors, and how many at once; what suits the format if left
                out.

        Raises:
            UnknownNameError: If the front has no such candidate, or there is no such format.
            InputError: If the destination exists.
            ConstraintError: If no candidate keeps `max_drop`.
            PackageError: If the candidate's files are damaged.
        """
        candidate = self.select(select, max_drop=max_drop)
        target, source = Path(destination), self.folder / "deploy" / candidate
        if format is not None:
            write_layout(
                source, target, format=format, name=name, inputs=inputs,
                read_steps=image_preprocessing, rescore=rescore,
            )  # fmt: skip
            return target
        if name is not None or inputs is not None:
            raise InputError("name and inputs are for a format: give one of ovms, triton, kserve, optimum, ir")
        if target.exists():
            raise InputError(f"the destination '{target}' must not exist yet: choose a new folder")
        return Path(shutil.copytree(source, target))

    def report(self, path: str | Path | None = None) -> Path:
        """Renders the page of the run again, from what stands in its folder.

        Args:
            path: A file that ends in .html; `report.html` in the run folder if left out.

        Raises:
            QnasError: If a file of the run is missing or damaged, or the page cannot be written.
        """
        return write_page(self.folder, None if path is None else Path(path))


def check_same_machine(folder: Path, machine: Mapping[str, Any]) -> None:
    """Notes the machine, or checks that a continued run is on the machine it began on.

    Raises:
        RunFolderError: If CPU, cores or library versions differ: their latencies do not mix.
    """
    path = folder / "machine.json"
    if not path.exists():
        write_json(path, machine)
        return
    try:
        before = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise RunFolderError(f"{path} is damaged ({error}): restore it, or choose another --out") from error
    for name in _SAME_MACHINE:
        if before.get(name) != machine[name]:
            raise RunFolderError(
                f"--resume must run on the machine and versions the run began with: {name} was {before.get(name)}, "
                f"now it is {machine[name]}; go on there, or choose another --out"
            )


def check_same_inputs(folder: RunFolder, inputs: Mapping[str, str]) -> None:
    """Notes what the run is made of, or checks that a continued run is made of the same.

    Raises:
        RunFolderError: If something changed: old and new measurements would not compare.
    """
    before = folder.journal.meta("inputs")
    if before is None:
        folder.journal.set_meta("inputs", dict(inputs))
        return
    changed = [name for name, digest in inputs.items() if before.get(name) != digest]
    if changed:
        raise RunFolderError(
            f"--resume must continue with what the run in '{folder.path}' began with: {' and '.join(changed)} changed; "
            "restore it, or start again with another --out"
        )


def write_run(
    folder: RunFolder,
    *,
    setup: Setup,
    network: Network,
    machine: Mapping[str, Any],
    front: pd.DataFrame,
    baselines: pd.DataFrame,
    verified: Sequence[Verified],
    predictors: Mapping[str, Any],
) -> None:
    """Writes the tables, the predictors and the packages, and renders the page from the folder.

    The front's table comes last of the files: a folder that has it has everything.
    """
    path = folder.path
    by_name = {v.finalist.name: v for v in verified}
    write_text(path / "evaluations.csv", folder.journal.to_frame().to_csv(index=False))
    write_text(path / "baselines.csv", baselines.to_csv(index=False))
    write_baselines(path / BASELINES, network)
    write_json(path / "predictors.json", predictors)
    recorder = SampleRecorder(setup, network)
    for name in front["candidate"]:
        values = front[front["candidate"] == name].iloc[0].to_dict()
        write_candidate(path / "deploy" / str(name), by_name[str(name)], values, setup, network, machine, recorder)
    write_text(path / "pareto.csv", front.to_csv(index=False))
    write_page(path)


def write_baselines(target: Path, network: Network) -> None:
    """Leaves the unsearched network behind, in floating point and all-INT8, for `qnas-ov benchmark`."""
    with atomic_folder(target) as part:
        save_ir(network.bank.source, part / "float.xml")
        save_ir(network.bank.int8, part / "int8.xml")


def space_record(setup: Setup, network: Network) -> dict[str, Any]:
    """The content of `space.json`: what is searched, of which network, on which data, for which objectives."""
    splits = {"calibration": setup.task.calibration, "validation": setup.task.validation, "test": setup.task.test}
    return {
        "format": 1,
        "model": {**model_record(setup), "sha256": weights_digest(network.bank.source)},
        "data": {**data_record(setup), "num_samples": {name: split.num_samples for name, split in splits.items()}},
        "metric": setup.task.metric.column,
        "objectives": [{"name": o.name, "column": o.column, "direction": o.direction} for o in setup.objectives],
        "notes": [*setup.task.notes, *describe_limits(network)],
        "knobs": network.builder.space.to_json(),
        "units": [
            {
                "key": u.key,
                "knob": u.knob,
                "operations": list(u.operations),
                "blocks": list(u.blocks),
                "widths": list(network.builder.widths_of(u)),
                "params": u.params,
                "macs": u.macs,
            }
            for u in network.builder.units
        ],
        "log10_candidates": network.builder.space.log10_size(),
    }


def model_record(setup: Setup) -> dict[str, Any]:
    """The network in words."""
    return {"name": setup.source.name, "source": setup.source.origin, "license": setup.source.license}


def data_record(setup: Setup) -> dict[str, Any]:
    """The data in words, with the digest of every split."""
    return {"name": setup.task.name, "source": setup.task.source, "sha256": setup.task.digests()}


def write_candidate(
    target: Path,
    verified: Verified,
    values: Mapping[str, Any],
    setup: Setup,
    network: Network,
    machine: Mapping[str, Any],
    recorder: SampleRecorder,
) -> None:
    """Packages one candidate of the front, with test samples and what it answers to them."""
    finalist = verified.finalist
    candidate = finalist.candidate
    assert candidate is not None
    config, note = setup.source.package_config(candidate.architecture)
    if config is not None:
        labels = dict(enumerate(setup.task.labels))
        config |= {"id2label": labels, "label2id": {label: i for i, label in labels.items()}}
    samples, record = recorder.record(finalist)
    manifest = {
        "candidate": finalist.name,
        "model": model_record(setup),
        "data": data_record(setup),
        **candidate.to_json(),
        "units": {
            key: {"requested": wanted, "realised": verified.realised[key]}
            | ({"why": verified.fallbacks[key]} if key in verified.fallbacks else {})
            for key, wanted in candidate.policy.items()
        },
        "measured": {k: v for k, v in values.items() if isinstance(v, int | float)},
        "machine": dict(machine),
        "labels": list(setup.task.labels),
        "samples": record,
        "minimum_openvino": ".".join(str(machine["packages"]["openvino"]).split(".")[:2]),
        "note": note,
    }
    write_package(
        target,
        model=finalist.path,
        config=config,
        preprocessor=network.source.preprocessor,
        manifest=manifest,
        samples=samples.to_arrays(),
        companions=network.source.companions,
    )


def load_result(folder: Path) -> SearchResult:
    """Reads a finished run.

    Raises:
        RunFolderError: If a file is missing or damaged.
    """
    missing = [name for name in _FINISHED if not (folder / name).is_file()]
    if missing:
        raise RunFolderError(
            f"'{folder}' is no finished run: it holds no {missing[0]}; continue it with --resume, or choose another "
            "folder"
        )
    try:
        metric = str(json.loads((folder / "space.json").read_text())["metric"])
        return SearchResult(
            folder=folder,
            front=_read_table(folder / "pareto.csv", "candidate", metric, "latency_ms", "size_bytes"),
            baselines=_read_table(folder / "baselines.csv", "baseline", metric),
            predictors=json.loads((folder / "predictors.json").read_text()),
            metric=metric,
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise RunFolderError(
            f"a file of the run '{folder}' is damaged ({reason}): restore it from a copy of the run"
        ) from error


def _read_table(path: Path, *columns: str) -> pd.DataFrame:
    """A table of networks with at least these columns: what the rules of `package` look at."""
    table = pd.read_csv(path)
    lacking = [c for c in columns if c not in table]
    if lacking:
        raise ValueError(f"{path.name} has no column '{lacking[0]}'")
    return table
