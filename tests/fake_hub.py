"""A Hugging Face hub on loopback, and its cache on disk: the real client talks to it."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest
from huggingface_hub import constants

COMMIT = "c0ffee" + "0" * 34


def use_cache(patch: pytest.MonkeyPatch, home: Path, *, offline: bool = True) -> Path:
    """Points the client at a cache of its own; returns the folder that holds repositories."""
    patch.setattr(constants, "HF_HOME", str(home))
    patch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    patch.setattr(constants, "HF_HUB_OFFLINE", offline)
    return home / "hub"


def cache_repository(cache: Path, hub_id: str, folder: Path, *, revision: str = "main", commit: str = COMMIT) -> Path:
    """Lays a folder into the cache as the hub's client would have; returns the snapshot."""
    repository = cache / f"models--{hub_id.replace('/', '--')}"
    reference = repository / "refs" / revision
    reference.parent.mkdir(parents=True, exist_ok=True)
    reference.write_text(commit)
    return Path(shutil.copytree(folder, repository / "snapshots" / commit))


@dataclass
class FakeHub:
    """What the hub holds, and what it was asked for.

    Attributes:
        repositories: Folders by id.
        refused: HTTP status and the hub's error code, by id.
        gated: Ids whose files are refused while their description is public.
        fetched: Files that were sent, by id and name.
    """

    repositories: dict[str, Path] = field(default_factory=dict)
    refused: dict[str, tuple[int, str]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    fetched: list[str] = field(default_factory=list)


@contextmanager
def running_hub(patch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """Serves a hub on loopback that the client takes for the real one."""
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            _answer(self, hub)

        do_GET = do_HEAD  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    patch.setattr(constants, "ENDPOINT", endpoint)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def _answer(request: BaseHTTPRequestHandler, hub: FakeHub) -> None:
    parts = [unquote(part) for part in request.path.split("?")[0].strip("/").split("/")]
    description = parts[:2] == ["api", "models"]
    hub_id = "/".join(parts[2:4] if description else parts[:2])
    if hub_id in hub.refused:
        _refuse(request, *hub.refused[hub_id])
    elif hub_id not in hub.repositories:
        _refuse(request, 401, "RepoNotFound")
    elif description and parts[-1] not in ("main", COMMIT):
        _refuse(request, 404, "RevisionNotFound")
    elif description:
        names = [
            str(p.relative_to(hub.repositories[hub_id])) for p in hub.repositories[hub_id].rglob("*") if p.is_file()
        ]
        text = json.dumps({"id": hub_id, "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]})
        _send(request, text.encode(), "application/json")
    elif hub_id in hub.gated:
        _refuse(request, 403, "GatedRepo")
    else:
        name = "/".join(parts[4:])
        if request.command == "GET":
            hub.fetched.append(f"{hub_id}/{name}")
        _send(request, (hub.repositories[hub_id] / name).read_bytes(), "application/octet-stream")


def _refuse(request: BaseHTTPRequestHandler, status: int, code: str) -> None:
    request.send_response(status)
    request.send_header("X-Error-Code", code)
    request.send_header("Content-Length", "0")
    request.end_headers()


def _send(request: BaseHTTPRequestHandler, body: bytes, kind: str) -> None:
    request.send_response(200)
    request.send_header("Content-Type", kind)
    request.send_header("Content-Length", str(len(body)))
    request.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
    request.send_header("X-Repo-Commit", COMMIT)
    request.end_headers()
    if request.command == "GET":
        request.wfile.write(body)
