"""Fetches repositories of the Hugging Face hub into the hub's own cache, and words what can go wrong with that."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from qnas_ov.core.errors import InputError

Kind = Literal["model", "dataset"]

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Snapshot:
    """A repository as it was at one commit.

    Attributes:
        folder: Where its files lie in the cache; only to be read.
        commit: The commit.
    """

    folder: Path
    commit: str


def is_hub_id(text: str) -> bool:
    """Whether a text reads like "owner/name"."""
    return _HUB_ID.fullmatch(text) is not None and ".." not in text and "--" not in text


def fetch_snapshot(
    hub_id: str, *, kind: Kind, revision: str | None, files: Sequence[str], leave: Sequence[str] = (), others: str
) -> Snapshot:
    """Fetches the files of a repository that the cache does not hold yet.

    With HF_HUB_OFFLINE set, or if the hub cannot be reached, what the cache holds is taken: then files may be missing.

    Args:
        hub_id: Its id, for instance "google/vit-base-patch16-224".
        kind: What it holds.
        revision: A branch, tag or commit; None is the main branch.
        files: Patterns of the files to fetch; a star stands for slashes too.
        leave: Patterns of files among these to leave out.
        others: What else could be used, for the error: "another model of `qnas-ov models`".

    Raises:
        InputError: If it cannot be had: the hub does not answer, there is no such repository or revision, its owners
            ask for consent first, or it cannot be stored. Each says how to go on.
    """
    from huggingface_hub import snapshot_download

    try:
        folder = Path(
            snapshot_download(
                hub_id, repo_type=kind, revision=revision, allow_patterns=list(files), ignore_patterns=list(leave)
            )
        )
    except Exception as error:  # besides the hub's own errors, whatever its HTTP client and the disk raise
        reason = _reason(error, hub_id, kind, revision)
        raise InputError(f"cannot fetch the {kind} '{hub_id}': {reason}{ways_on(others)}") from error
    assert _COMMIT.fullmatch(folder.name), f"a snapshot is named by its commit: {folder}"
    return Snapshot(folder, folder.name)


def ways_on(others: str) -> str:
    """What a user can do who cannot have a repository of the hub; `others` is what else could be used."""
    from huggingface_hub import constants

    return (
        f"give a local folder with its files, point HF_HOME at a cache that holds it (it is {constants.HF_HOME}), or "
        f"choose {others}"
    )


def repository_files(hub_id: str, *, kind: Kind, revision: str) -> list[str] | None:
    """Names of all files of a repository, or None if the hub cannot be asked."""
    from huggingface_hub import HfApi

    try:
        info = HfApi().repo_info(hub_id, repo_type=kind, revision=revision)
    except Exception:  # as in `fetch_snapshot`
        return None
    return [file.rfilename for file in getattr(info, "siblings", None) or ()]


def is_cached(hub_id: str, *, revision: str | None, file: str) -> bool:
    """Whether the cache holds a file of a model."""
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(hub_id, file, revision=revision), str)


def _reason(error: Exception, hub_id: str, kind: Kind, revision: str | None) -> str:
    """Why a repository cannot be had, and what is worth trying first."""
    from huggingface_hub import constants, errors

    page = f"https://huggingface.co/{'datasets/' if kind == 'dataset' else ''}{hub_id}"
    if isinstance(error, errors.LocalEntryNotFoundError):
        offline = constants.HF_HUB_OFFLINE
        reason = "HF_HUB_OFFLINE is set" if offline else f"the hub cannot be reached ({_cause(error)})"
        return f"{reason}, and neither its cache nor this folder holds it; "
    if isinstance(error, errors.GatedRepoError):
        return f"its owners ask for consent first (it is gated); give it at {page} and log in with `hf auth login`, or "
    if isinstance(error, errors.RevisionNotFoundError):
        return f"it has no revision '{revision}'; correct that, "
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            "the hub has none of that name that you may see, and there is no such folder here; check the name, log in "
            "with `hf auth login` if it is private, or "
        )
    if isinstance(error, OSError) and error.errno is not None:
        return f"its files cannot be kept in {constants.HF_HUB_CACHE} ({error.strerror}); make room there, or "
    return f"{_cause(error)}; "


def _cause(error: BaseException) -> str:
    """The first line of what an exception, or the one it came from, says."""
    told = str(error.__cause__ or error).strip().splitlines()
    return told[0].strip().rstrip(".:") if told else type(error).__name__
