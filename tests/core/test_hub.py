"""Fetching from the hub: what is taken, and which sentence a user gets who cannot have it."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from fake_hub import COMMIT, FakeHub, cache_repository, running_hub, use_cache
from huggingface_hub import constants

from qnas_ov.core.errors import InputError
from qnas_ov.core.hub import fetch_snapshot, is_cached, is_hub_id, repository_files

FILES = ("*.json", "model.safetensors")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    (folder / "onnx").mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "pytorch_model.bin", "code.py", "onnx/config.json"):
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, repository: Path) -> Iterator[FakeHub]:
    use_cache(monkeypatch, tmp_path / "home", offline=False)
    with running_hub(monkeypatch) as found:
        found.repositories["owner/net"] = repository
        yield found


def fetch(hub_id: str = "owner/net", revision: str | None = None) -> Path:
    others = "another model of `qnas-ov models`"
    found = fetch_snapshot(hub_id, kind="model", revision=revision, files=FILES, leave=("*/*",), others=others)
    assert found.commit == COMMIT
    return found.folder


def refusal(hub_id: str = "owner/net", revision: str | None = None) -> str:
    """The one sentence, which names the three ways to go on."""
    with pytest.raises(InputError) as caught:
        fetch(hub_id, revision)
    text = str(caught.value)
    assert caught.value.exit_code == 2
    assert f"'{hub_id}'" in text
    assert not re.search(r"\n|\.\s|\.$|Traceback", text), text
    for way in ("a local folder", "HF_HOME", "another model of `qnas-ov models`"):
        assert way in text
    return text


def test_only_what_was_asked_for_is_fetched_and_once(hub: FakeHub) -> None:
    folder = fetch()
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert sorted(hub.fetched) == ["owner/net/config.json", "owner/net/model.safetensors"]
    assert (folder / "config.json").read_text() == "config.json"
    assert fetch(revision="main") == folder
    assert fetch(revision=COMMIT) == folder
    assert len(hub.fetched) == 2
    assert is_cached("owner/net", revision=None, file="model.safetensors")
    assert not is_cached("owner/net", revision=None, file="pytorch_model.bin")
    assert "pytorch_model.bin" in (repository_files("owner/net", kind="model", revision=COMMIT) or [])


def test_what_does_not_exist_is_told_apart(hub: FakeHub, repository: Path) -> None:
    assert "the hub has none of that name" in refusal("owner/nit")
    hub.refused["owner/closed"] = (403, "GatedRepo")
    hub.repositories["owner/half-closed"] = repository
    hub.gated.add("owner/half-closed")
    for name in ("owner/closed", "owner/half-closed"):
        text = refusal(name)
        assert "gated" in text
        assert f"https://huggingface.co/{name}" in text
    assert "no revision 'v9'" in refusal(revision="v9")


def test_a_broken_hub_is_as_one_that_cannot_be_reached(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, repository: Path
) -> None:
    hub.refused["owner/net"] = (500, "")
    assert "cannot be reached" in refusal()
    cache = Path(constants.HF_HUB_CACHE)
    snapshot = cache_repository(cache, "owner/net", repository)
    assert fetch() == snapshot


def test_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, repository: Path) -> None:
    cache = use_cache(monkeypatch, tmp_path / "home", offline=False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "cannot be reached" in refusal()
    assert repository_files("owner/net", kind="model", revision=COMMIT) is None
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refusal()
    assert str(tmp_path / "home") in refusal()
    snapshot = cache_repository(cache, "owner/net", repository)
    assert fetch() == snapshot
    assert "HF_HUB_OFFLINE is set" in refusal(revision="other")


def test_a_full_disk_is_told(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **named: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    assert "No space left on device" in refusal()


@pytest.mark.parametrize("text", ["owner/net", "a/b.c-d_e", "google/vit-base-patch16-224"])
def test_ids(text: str) -> None:
    assert is_hub_id(text)


@pytest.mark.parametrize("text", ["net", "./net", "../net", "a/b/c", "/a/b", "a/", "a/..", "a/b c", "~/net", "a--b/c"])
def test_no_ids(text: str) -> None:
    assert not is_hub_id(text)
