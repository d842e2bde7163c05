"""Every command and every line of Python on the pages runs, in a folder with small files of the names that they use."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
import openvino as ov
import pytest
from checkpoints import vit_folder as digits_folder
from data_files import bert_folder, flat_folder, image_folder, reviews, sentence, vit_folder, write_csv, write_lines
from exports import exported_once
from manual import PAGES, ROOT, Step, read_spans, read_steps
from networks import outlier_network, save_samples
from openvino import opset13 as ops
from packaging.requirements import Requirement
from run_folders import classifier
from search_folders import write_searched_run
from serving import check_docker, check_mlserver

import qnas_ov.pipeline
from qnas_ov import cli
from qnas_ov.ir import save_ir
from qnas_ov.measure import RoundPlan
from qnas_ov.pipeline import _setup
from qnas_ov.recipe import Recipe, build_recipe

README, *OTHERS = PAGES

QUICK: Mapping[str, Any] = {
    "algorithm": "random", "evaluations": 8, "population": 4, "front_size": 1, "final_rounds": 1,
    "latency_seconds": 0.02, "inference_precision": "f32",
}  # fmt: skip
"""The pages have natural settings; to see that their commands work, few evaluations will do."""

LOOSE = {"max_drop": 1.0, "max_error": 1e9}
"""Of random weights nobody knows how much they lose."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a reader of the pages has: networks and data."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    vit_folder(folder / "my-vit", layers=1)
    image_folder(folder / "images")
    flat_folder(folder / "photos")
    bert_folder(folder / "my-bert", layers=1)
    write_csv(folder / "reviews.csv", reviews())
    bert_folder(folder / "my-embedder", embeds=True, layers=1)
    (folder / "my-embedder" / "model.safetensors").unlink()
    _save_embedder(folder / "my-embedder" / "model.xml")
    pairs = [{"sentence1": sentence(rng), "sentence2": sentence(rng), "score": i / 7} for i in range(44)]
    write_lines(folder / "pairs.jsonl", pairs)
    outlier_network(folder / "model.xml")
    for seed, name in enumerate(("float", "int8")):
        save_ir(classifier(seed), folder / f"{name}.xml")
    save_samples(folder / "samples.npz", 60)
    digits_folder(folder / "digits-vit-small", num_hidden_layers=1)
    write_searched_run(folder / "runs" / "server")
    return folder


def _save_embedder(path: Path) -> None:
    """Tokens to the mean of their vectors."""
    rng = np.random.default_rng(0)
    ids, mask = (ops.parameter([-1, -1], np.int64, name=name) for name in ("input_ids", "attention_mask"))
    for node in (ids, mask):
        node.output(0).set_names({node.get_friendly_name()})
    table = ops.constant(rng.normal(size=(32, 16)).astype(np.float32))
    words = ops.gather(table, ids, ops.constant(np.int64(0)))
    hidden = ops.matmul(words, ops.constant(rng.normal(size=(16, 8)).astype(np.float32)), False, False)
    weights = ops.unsqueeze(ops.convert(mask, "f32"), ops.constant(np.int64(2)))
    pooled = ops.reduce_mean(ops.multiply(hidden, weights), ops.constant(np.int64(1)))
    pooled.output(0).set_names({"sentence_embedding"})
    save_ir(ov.Model([ops.result(pooled)], [ids, mask], "embedder"), path)


@pytest.fixture(scope="module")
def quick(files: Path) -> Iterator[None]:
    """Everything is called as the pages call it, and ends soon."""
    patch = pytest.MonkeyPatch()
    search, sensitivity, package, benchmark = (
        getattr(qnas_ov.pipeline, name) for name in ("run_search", "run_sensitivity", "run_package", "run_benchmark")
    )

    def small(given: Mapping[str, Any]) -> dict[str, Any]:
        settings = {**given, **{name: LOOSE[name] for name in LOOSE if name in given}}
        if settings.get("model") == "digits-vit":
            settings |= {"model": str(files / "digits-vit-small"), "dataset": "digits"}
        return settings

    finished: dict[str, Path] = {}

    def run_search(given: Mapping[str, Any], *, out: Path, resume: bool = False, **others: Any) -> Any:
        if "model" in given:
            build_recipe({"population": 4, **given})  # a few evaluations lower the default
        if resume and not given:
            return search({}, out=out, resume=True, **others)
        settings = {"device": "CPU", **small(given), **QUICK}
        if "warm_from" in given:
            settings["algorithm"] = "qnas"  # no other one begins with an earlier run
        key = json.dumps(settings, default=str, sort_keys=True)
        if key in finished and settings["model"] == str(files / "digits-vit-small"):
            shutil.copytree(finished[key], out)  # several pages begin with the same search
            return qnas_ov.pipeline.load_result(out)
        result = search(settings, out=out, resume=resume, **others)
        finished[key] = out.resolve()
        return result

    def run_sensitivity(given: Mapping[str, Any], *, samples: int | None, latency: bool, **others: Any) -> Any:
        build_recipe(given)
        return sensitivity(
            {**small(given), "merge_units": "block"}, samples=min(samples or 8, 8), latency=False, **others
        )

    def run_package(run: Path, *, max_drop: float | None = None, **others: Any) -> Any:
        return package(run, max_drop=None if max_drop is None else LOOSE["max_drop"], **others)

    def run_benchmark(paths: Any, request: Any, *, plan: RoundPlan, seconds: float, **others: Any) -> Any:
        return benchmark(paths, request, plan=RoundPlan(minimum=1), seconds=0.02, **others)

    patch.setattr(_setup, "inference_precisions", lambda device: ("f32",))
    for replacement in (run_search, run_sensitivity, run_package, run_benchmark):
        patch.setattr(qnas_ov.pipeline, replacement.__name__, replacement)
    with exported_once():
        yield
    patch.undo()


def call(command: str) -> None:
    """Runs a command of qnas-ov as its console script does.

    Raises:
        AssertionError: If it does not end well.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", shlex.split(command))
        code: int | str | None = None
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
        assert not code, f"`{command}`"


def check_requirements(command: str) -> None:
    """`pip install`: the network is not asked, but the file is there and can be read."""
    (path,) = re.fullmatch(r"pip install -r (\S+)", command).groups()  # type: ignore[union-attr]
    lines = [line for line in Path(path).read_text().splitlines() if not line.startswith("#")]
    assert {"openvino", "mlserver"} <= {Requirement(line).name for line in lines}


def check_ready(command: str) -> None:
    """`curl` asks by the v2 protocol, at the port that the command before it publishes."""
    assert command == "curl localhost:8000/v2/models/NAME/ready"


def check_tool(command: str) -> None:
    """A script of the repository; the suite is run by one of them."""
    path = ROOT / command
    assert path.stat().st_mode & 0o111


ELSEWHERE: dict[str, Callable[[str], None]] = {
    "git clone <this repository> qnas-ov && cd qnas-ov": lambda command: None,
    "./tools/demo": check_tool,
    "./tools/test": check_tool,
    "docker run ": check_docker,
    "curl ": check_ready,
    "pip install -r ": check_requirements,
    "mlserver start ": check_mlserver,
}
"""Commands that are not run: by how they begin, what is checked instead."""


def do(page: Path, steps: list[Step], namespace: dict[str, Any]) -> None:
    """Does in the working folder what a page says."""
    for step in steps:
        if step.kind == "file":
            Path(step.name).write_text(step.text)
        elif step.kind == "python":
            exec(compile(step.text, page.name, "exec"), namespace)
        elif step.text.startswith("qnas-ov "):
            call(step.text)
        else:
            checks = [check for start, check in ELSEWHERE.items() if step.text.startswith(start)]
            assert len(checks) == 1, f"'{step.text}' in {page.name} is neither run nor listed in ELSEWHERE"
            checks[0](step.text)


@pytest.fixture(scope="module")
def after_readme(files: Path, quick: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of somebody who has done what the README says: the other pages begin there."""
    folder = Path(shutil.copytree(files, tmp_path_factory.mktemp("readme"), dirs_exist_ok=True))
    _save_onnx(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        do(README, read_steps(README), {"__name__": "readme"})
    return folder


def _save_onnx(folder: Path) -> None:
    """The network of `model.xml` as an ONNX file."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    sizes = ((32, 64), (64, 64), (64, 10))
    nodes, weights, last = [], [], "features"
    for i, size in enumerate(sizes):
        weights.append(numpy_helper.from_array(rng.normal(0, 0.2, size).astype(np.float32), f"w{i}"))
        nodes += [
            helper.make_node("MatMul", [last, f"w{i}"], [f"m{i}"]),
            helper.make_node("Relu", [f"m{i}"], [f"r{i}"]),
        ]
        last = f"r{i}"
    described = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])
        for name, width in (("features", 32), (last, 10))
    ]
    graph = helper.make_graph(nodes, "net", described[:1], described[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), folder / "model.onnx")


MADE = {
    "README.md": ["runs/mine/report.html", "comparison.html", "served/config.json", "winner/openvino_model.xml"],
    "api.md": ["served/config.json", "winner/openvino_model.xml", "runs/net/pareto.csv"],
    "concepts.md": ["sensitivity/policy.xml", "comparison.html"],
    "data.md": ["runs/images/pareto.csv"],
    "deployment.md": ["ovms-served/config.json", "camera/config.json", "bare/model.xml", "reviews-optimum/config.json"],
    "families.md": ["supernet/model.safetensors", "runs/supernet/pareto.csv"],
    "measuring.md": ["mine-measured/benchmark.html", "mine-measured/operations.csv", "runs/again/pareto.csv"],
    "recipes.md": ["runs/second/pareto.csv", "runs/again/pareto.csv", "comparison.html"],
}
"""Some of what is there afterwards."""


def test_the_readme_runs(after_readme: Path) -> None:
    assert [name for name in MADE["README.md"] if not (after_readme / name).is_file()] == []
    assert len(list((after_readme / "runs").glob("digits-vit-*"))) == 1


@pytest.mark.parametrize("page", OTHERS, ids=lambda page: page.name)
def test_the_page_runs(page: Path, after_readme: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = read_steps(page)
    text = " ".join(step.text for step in steps)
    for path in after_readme.iterdir():
        if path.name in text or path.stem in text:
            target = tmp_path / path.name
            shutil.copytree(path, target) if path.is_dir() and path.name != "runs" else None
            shutil.copyfile(path, target) if path.is_file() else None
    begun = set(re.findall(r"qnas-ov search (?!--resume).*--out (\S+)", "\n".join(s.text for s in steps)))
    for run in ("runs/mine", "runs/reviews", "runs/server"):
        if run in text and run not in begun:
            shutil.copytree(after_readme / run, tmp_path / run)
    for made in MADE.get(page.name, []):
        if not made.startswith("runs/"):
            shutil.rmtree(tmp_path / made.split("/")[0], ignore_errors=True)
    (tmp_path / "comparison.html").unlink(missing_ok=True)
    monkeypatch.chdir(tmp_path)
    do(page, steps, {"__name__": page.stem})
    assert [name for name in MADE.get(page.name, []) if not (tmp_path / name).is_file()] == []


COMMANDS = cli.cli.commands
OPTIONS = {o for command in COMMANDS.values() for p in command.params for o in (*p.opts, *p.secondary_opts)} | {
    "--help"
}
SERVERS_OPTIONS = {"--cpu_extension"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_sentences_name_exists(page: Path) -> None:
    for span in read_spans(page):
        options = re.findall(r"(?<!\S)--[a-z][a-z_-]*", span)
        assert set(options) <= OPTIONS | SERVERS_OPTIONS, f"`{span}` in {page.name}"
        words = shlex.split(span) if span.startswith("qnas-ov ") else []
        if len(words) < 2 or words[1].startswith("-"):
            continue
        assert words[1] in COMMANDS, f"`{span}` in {page.name}"
        try:
            COMMANDS[words[1]].make_context(words[1], words[2:])
        except (click.MissingParameter, click.exceptions.Exit):
            continue  # a sentence may leave out what a reader knows, and --help ends here
    links = re.findall(r"\]\(([^)#:]+)(?:#[\w-]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_no_command_hides_from_this_test() -> None:
    for page in PAGES:
        assert not re.search(r"^(    |\t)\$? ?(qnas-ov|docker|pip|python) ", page.read_text(), re.M), page.name


def test_the_table_of_keys_is_complete() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (?:`(--[\w-]+)`)? ?\| (?:`([^`]*)`|[^|]*?) ?\|", (ROOT / "docs/recipes.md").read_text(), re.M
    )
    assert [row[0] for row in rows] == list(Recipe.model_fields)
    search = {p.name: p.opts[0] for p in COMMANDS["search"].params}
    for key, option, default in rows:
        assert option == search.get(key, ""), key
        value = Recipe.model_fields[key].default
        if default:
            shown = (
                f"[{', '.join(value)}]"
                if isinstance(value, tuple)
                else str(value).lower()
                if isinstance(value, bool)
                else str(value)
            )
            assert default == shown, key
