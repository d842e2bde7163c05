"""Where a model may come from: names, folders, files, the hub, modules; what is safe, and what is said."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from checkpoints import change_config, foreign_folder, own_code_folder, vit_folder, write_trap
from fake_hub import COMMIT, FakeHub, cache_repository, running_hub, use_cache
from huggingface_hub import constants
from networks import outlier_network, save_samples

import qnas_ov
from qnas_ov.core.errors import InputError, QnasError, RunFolderError, UnknownNameError
from qnas_ov.core.progress import Silent
from qnas_ov.families import FAMILIES, MODELS
from qnas_ov.pipeline import list_models, run_search, run_sensitivity, run_training
from qnas_ov.pipeline._checkpoint import CODE_WAS_RUN, KEPT
from qnas_ov.pipeline._setup import describe_limits, prepare_network, resolve
from qnas_ov.pipeline._source import POLICY_ONLY, SourceNetwork

VIT = "owner/tiny-vit"


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = vit_folder(tmp_path_factory.mktemp("models") / "vit")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A tiny ViT\n")
    (folder / "preprocessor_config.json").write_text('{"size": 8}')
    return folder


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return foreign_folder(tmp_path_factory.mktemp("models") / "convnext")


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache of the hub, without a network."""
    return use_cache(monkeypatch, tmp_path / "home")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    use_cache(monkeypatch, tmp_path / "home", offline=False)
    with running_hub(monkeypatch) as found:
        yield found


class Said(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


class Interrupting(Said):
    """Stops a search when it begins to measure: the run folder is there by then."""

    def begin(self, text: str, total: int) -> None:
        raise KeyboardInterrupt


def load(model: str | Path, **settings: Any) -> SourceNetwork:
    setup = resolve({"model": str(model), "dataset": "digits", **settings})
    return setup.source.open({})


def logits(network: SourceNetwork, pixels: np.ndarray) -> np.ndarray:
    import openvino as ov

    compiled = ov.Core().compile_model(network.model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled({"pixel_values": pixels})[0])


def test_a_folder_of_a_known_family_is_elastic(vit: Path, rng: np.random.Generator) -> None:
    from transformers import ViTForImageClassification

    network = load(vit)
    assert {k.name for k in network.elastic.knobs()} > {"depth", "layer.0.heads", "layer.2.ffn"}
    assert all(len(k.choices) > 1 for k in network.elastic.knobs())
    assert len(network.notes) == 1
    assert "were not trained as a supernet" in network.notes[0]
    assert f"qnas-ov train --model {vit} " in network.notes[0]
    pixels = rng.normal(size=(3, 1, 8, 8)).astype(np.float32)
    with torch.no_grad():
        wanted = ViTForImageClassification.from_pretrained(vit).eval()(torch.from_numpy(pixels)).logits
    np.testing.assert_allclose(logits(network, pixels), wanted.numpy(), rtol=1e-3, atol=1e-4)


def test_channels_of_untrained_weights_are_ordered_and_compute_the_same(vit: Path) -> None:
    """Narrow subnetworks keep what counts; the largest network is what it was."""
    setup = resolve({"model": str(vit), "dataset": "digits"})
    before = setup.source.open({})
    pixels = setup.task.test.inputs["pixel_values"][:16]
    wanted = logits(before, pixels)
    said = Said()
    network = prepare_network(setup, said)
    assert [line for line in said.lines if "in order of their importance" in line]
    assert network.source is not before
    np.testing.assert_allclose(logits(network.source, pixels), wanted, rtol=1e-3, atol=1e-4)
    assert "were not trained as a supernet" in describe_limits(network)[0]
    supernet = setup.source.supernet
    group = next(g for g in supernet.elastic.widths if g.knob == "layer.0.ffn")
    moved = supernet.model.get_submodule(group.producers[0]).weight
    kept = FAMILIES.get("vit").load(vit).model.get_submodule(group.producers[0]).weight
    assert not torch.equal(moved, kept)
    torch.testing.assert_close(moved.sum(0), kept.sum(0), rtol=1e-4, atol=1e-5)
    assert not setup.source.order_channels(setup.task.calibration.inputs)  # once is enough


def test_policy_only_keeps_the_architecture(vit: Path) -> None:
    setup = resolve({"model": str(vit), "dataset": "digits", "policy_only": True})
    said = Said()
    network = prepare_network(setup, said)
    others = {k.name for k in network.builder.space.knobs if not k.name.startswith("precision.")}
    assert others == {"inference_precision"}
    assert describe_limits(network) == [KEPT]
    assert said.lines.count(KEPT) == 1
    config, note = setup.source.package_config(network.largest)
    assert config is not None
    assert (config["num_hidden_layers"], note) == (3, None)


def test_an_unknown_architecture_is_searched_for_its_policy(foreign: Path) -> None:
    setup = resolve({"model": str(foreign), "dataset": "digits"})
    said = Said()
    network = prepare_network(setup, said)
    assert network.source.elastic.knobs() == []
    assert describe_limits(network) == [POLICY_ONLY]
    assert said.lines.count(POLICY_ONLY) == 1
    assert setup.source.license == "unknown"


def test_a_repository_of_the_hub_is_fetched_once_without_pickles(
    hub: FakeHub, vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = Path(shutil.copytree(vit, tmp_path / "repository"))
    write_trap(repository / "pytorch_model.bin", tmp_path / "trapped")
    (repository / "net.py").write_text("raise SystemExit")
    (repository / "onnx").mkdir()
    (repository / "onnx" / "model.safetensors").write_bytes(b"large")
    hub.repositories[VIT] = repository
    said = Said()
    setup = resolve({"model": VIT, "dataset": "digits"}, progress=said)
    names = {name.removeprefix(f"{VIT}/") for name in hub.fetched}
    assert names == {"config.json", "model.safetensors", "preprocessor_config.json", "README.md"}
    assert said.lines == [f"fetching '{VIT}' from the Hugging Face hub"]
    assert (setup.source.name, setup.source.license) == ("tiny-vit", "mit")
    assert setup.source.origin == f"https://huggingface.co/{VIT} at {COMMIT}"
    assert setup.recipe.revision == COMMIT
    assert setup.source.open({}).preprocessor == {"size": 8}
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    again = Said()
    resolve({"model": VIT, "dataset": "digits"}, progress=again)
    assert again.lines == []


def test_a_run_from_the_cache_names_its_commit_and_continues(
    cache: Path, vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache_repository(cache, VIT, vit, revision="v1")
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run_search({"model": VIT, "revision": "v1", "dataset": "digits"}, out=out, progress=Interrupting())
    stored = yaml.safe_load((out / "recipe.yaml").read_text())
    assert (stored["model"], stored["revision"]) == (VIT, COMMIT)
    shutil.rmtree(cache / "models--owner--tiny-vit" / "refs")  # the commit is enough
    with pytest.raises(KeyboardInterrupt):
        run_search({}, out=out, resume=True, progress=Interrupting())
    with pytest.raises(RunFolderError, match=f"revision \\(the run has {COMMIT}, given v2\\)"):
        run_search({"revision": "v2"}, out=out, resume=True)
    shutil.rmtree(cache)
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set"):
        run_search({}, out=out, resume=True)


WAYS = ("a local folder", "HF_HOME", "another model of `qnas-ov models`")


@pytest.mark.parametrize("command", ["search", "sensitivity", "train"])
def test_every_command_says_how_to_go_on_without_a_network(cache: Path, tmp_path: Path, command: str) -> None:
    commands = {
        "search": lambda model: run_search({"model": model, "dataset": "digits"}, out=tmp_path / "out"),
        "sensitivity": lambda model: run_sensitivity({"model": model, "dataset": "digits"}, out=tmp_path / "out"),
        "train": lambda model: run_training({"model": model, "dataset": "digits"}, out=tmp_path / "out"),
    }
    for model in (VIT, "vit-base"):
        with pytest.raises(InputError) as caught:
            commands[command](model)
        assert caught.value.exit_code == 2
        assert "HF_HUB_OFFLINE is set" in str(caught.value)
        assert all(way in str(caught.value) for way in WAYS)
        assert not (tmp_path / "out").exists()


def test_a_cache_that_holds_a_part(cache: Path, vit: Path, tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.mkdir()
    shutil.copy(vit / "config.json", part)
    cache_repository(cache, VIT, part)
    with pytest.raises(InputError, match="only in part \\(model.safetensors is missing\\)") as caught:
        load(VIT)
    assert all(way in str(caught.value) for way in WAYS)


def test_a_repository_with_pickles_only(hub: FakeHub, vit: Path, tmp_path: Path) -> None:
    repository = Path(shutil.copytree(vit, tmp_path / "repository"))
    (repository / "model.safetensors").unlink()
    write_trap(repository / "pytorch_model.bin", tmp_path / "trapped")
    hub.repositories[VIT] = repository
    with pytest.raises(InputError, match=r"'pytorch_model.bin' is a pickle, which can run code.*--revision"):
        load(VIT)
    assert not [name for name in hub.fetched if name.endswith(".bin")]
    (repository / "pytorch_model.bin").unlink()
    with pytest.raises(InputError, match="must hold model.safetensors, and this one does not"):
        load(VIT)
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_pickles_are_never_read(vit: Path, tmp_path: Path, name: str) -> None:
    folder, mark = Path(shutil.copytree(vit, tmp_path / "vit")), tmp_path / "trapped"
    (folder / "model.safetensors").unlink()
    trap = write_trap(folder / name, mark)
    for model in (folder, trap):
        with pytest.raises(QnasError) as caught:
            load(model)
        assert caught.value.exit_code == 2
    change_config(folder, model_type="convnext", architectures=["ConvNextForImageClassification"])
    with pytest.raises(QnasError):
        load(folder)
    assert not mark.exists()
    import pickle

    pickle.loads(trap.read_bytes())  # the trap works: whoever reads it creates the file
    assert mark.exists()


def test_own_code_runs_only_where_it_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    mark = tmp_path / "ran"
    folder = own_code_folder(tmp_path / "net", mark)
    with pytest.raises(InputError, match="read it, then allow it with --trust-remote-code"):
        load(folder)
    assert not mark.exists()
    setup = resolve({"model": str(folder), "dataset": "digits", "trust_remote_code": True})
    network = prepare_network(setup, Silent())
    assert mark.exists()
    assert describe_limits(network) == [POLICY_ONLY, CODE_WAS_RUN]
    assert "trust_remote_code: true" in setup.recipe.to_yaml()
    assert logits(network.source, rng.normal(size=(2, 1, 8, 8)).astype(np.float32)).shape == (2, 10)


def test_own_code_of_a_known_type_is_not_needed(vit: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(vit, tmp_path / "vit"))
    change_config(folder, auto_map={"AutoModelForImageClassification": "net.Net"})
    (folder / "net.py").write_text("raise SystemExit('it ran')")
    for trusted in (False, True):
        assert CODE_WAS_RUN not in load(folder, trust_remote_code=trusted).notes


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_samples(tmp_path_factory.mktemp("data") / "samples.npz"))


def make_module(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.outer = torch.nn.Linear(32, 48), torch.nn.Linear(48, 5)
            self.dropout = torch.nn.Dropout(0.9)

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return self.outer(self.dropout(self.inner(features).relu()))

    return Net()


def test_a_torch_module_is_searched_and_continued_from_python_only(samples: str, tmp_path: Path) -> None:
    module, out = make_module(), tmp_path / "run"
    given = {"example_inputs": torch.zeros(2, 32), "data": samples, "progress": Interrupting()}
    with pytest.raises(KeyboardInterrupt):
        qnas_ov.search(module, out=out, **given)
    assert module.training
    assert given["progress"].lines.count(POLICY_ONLY) == 1
    model = yaml.safe_load((out / "recipe.yaml").read_text())["model"]
    assert model.startswith("torch:Net:")
    assert len(model.rsplit(":", 1)[1]) == 64
    with pytest.raises(KeyboardInterrupt):
        qnas_ov.search(make_module(), out=out, resume=True, **given)
    with pytest.raises(RunFolderError, match="--resume must keep the settings"):
        qnas_ov.search(make_module(seed=1), out=out, resume=True, **given)
    with pytest.raises(InputError, match="was a torch module that was given from Python and cannot be loaded again"):
        run_search({}, out=out, resume=True)


def test_sensitivity_of_a_torch_module(samples: str) -> None:
    found = qnas_ov.sensitivity(
        make_module(), example_inputs={"features": np.zeros((1, 32), np.float32)}, data=samples, latency=False
    )
    assert set(found.table()["unit"]) == {"inner", "outer"}


@pytest.mark.parametrize(
    ("examples", "words"),
    [
        (None, "a torch module needs example_inputs"),
        (torch.zeros(1, 33), "does not run on example_inputs (RuntimeError: mat1 and mat2"),
        ({"pixels": torch.zeros(1, 32)}, "unexpected keyword argument 'pixels'"),
        ([], "must hold a tensor for each of its inputs: got none"),
        (torch.tensor(1.0), "whose first axis is a batch of at least 1: got shape ()"),
        (["text"], "must be a tensor or array"),
    ],
)
def test_example_inputs_that_do_not_fit(examples: Any, words: str, samples: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        qnas_ov.search(make_module(), example_inputs=examples, data=samples, out=tmp_path / "out")
    assert words in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_what_names_nothing(cache: Path, vit: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UnknownNameError, match=r"did you mean 'vit-base'.*or an id of the Hugging Face hub, owner/name, will do"
    ):
        load("vit-bas")
    for missing in ("./nowhere", "a/b/c", "missing.xml", "missing.onnx"):
        with pytest.raises(InputError, match="there is no such file"):
            load(missing)
    for here in (str(vit), "digits-vit", str(outlier_network(tmp_path / "net.xml"))):
        with pytest.raises(InputError, match="--revision is for models of the Hugging Face hub"):
            load(here, revision="main")
    with pytest.raises(InputError, match="example_inputs are for torch modules: 'digits-vit' is none"):
        qnas_ov.search("digits-vit", example_inputs=torch.zeros(1), out=tmp_path / "out")
    setup = resolve({"model": str(vit), "dataset": "digits"})
    with pytest.raises(InputError, match="--shape is for networks with dynamic axes"):
        setup.source.open({"pixel_values": (1, 1, 8, 8)})


def test_the_list_of_models_tells_what_is_here(cache: Path, vit: Path) -> None:
    rows = {row["name"]: row for row in list_models()}
    assert {"digits-vit", "vit-base", "deit-small"} <= set(rows) == set(MODELS)
    assert rows["digits-vit"]["cached"]
    assert rows["digits-vit"]["download_bytes"] == 0
    for name, row in rows.items():
        assert row["license"]
        assert row["parameters"] > 0
        assert (row["searches"] == "architecture and policy") == (row["family"] in FAMILIES)
        if MODELS.get(name).weights.hub_id is not None:
            assert not row["cached"]
            assert row["download_bytes"] == pytest.approx(4 * row["parameters"], rel=0.01)
    entry = MODELS.get("deit-small").weights
    assert entry.hub_id is not None
    assert entry.revision is not None
    cache_repository(cache, entry.hub_id, vit, revision=entry.revision)
    assert [row["name"] for row in list_models() if row["hub_id"] and row["cached"]] == ["deit-small"]


def test_the_shipped_numbers_are_true() -> None:
    from safetensors import safe_open

    weights = MODELS.get("digits-vit").weights
    assert weights.folder is not None
    path = weights.folder / "model.safetensors"
    assert path.stat().st_size == weights.size_bytes
    with safe_open(path, "np") as file:
        assert sum(int(np.prod(file.get_slice(name).get_shape())) for name in file.keys()) == (  # noqa: SIM118
            MODELS.get("digits-vit").parameters
        )


def test_training_a_checkpoint_makes_it_a_supernet(vit: Path, tmp_path: Path) -> None:
    out = tmp_path / "trained"
    given = {"model": str(vit), "dataset": "digits"}
    result = run_training(given, out=out, settings={"epochs": 1, "batch_size": 256})
    assert (result.folder, result.registered) == (out, None)
    assert (out / "preprocessor_config.json").read_text() == '{\n  "size": 8\n}\n'
    trained = load(out)
    assert trained.notes == ()
    assert trained.elastic.knobs() == load(vit).elastic.knobs()


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("foreign", "training needs a Hugging Face checkpoint of a known family"),
        ("file", "search its INT8/float policy with `qnas-ov search"),
        ("no data", "has no data set of its own to train on: add --data or --dataset"),
        ("classes", "must have the classes of"),
        ("shapes", "must hold what"),
    ],
)
def test_what_cannot_be_trained(model: str, words: str, vit: Path, foreign: Path, tmp_path: Path) -> None:
    models = {
        "foreign": foreign,
        "file": outlier_network(tmp_path / "net.xml") if model == "file" else None,
        "no data": vit,
        "classes": vit_folder(tmp_path / "v", num_labels=2) if model == "classes" else None,
        "shapes": vit_folder(tmp_path / "v", image_size=16) if model == "shapes" else None,
    }
    dataset = None if model == "no data" else "digits"
    with pytest.raises(InputError) as caught:
        run_training({"model": str(models[model]), "dataset": dataset}, out=tmp_path / "out")
    assert words in str(caught.value), caught.value
    assert not (tmp_path / "out").exists()
