"""A KServe package in the real MLServer, where it is installed (`pip install 'qnas-ov[serve]'`)."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from run_folders import write_candidate

from qnas_ov.deploy import Samples, read_samples, write_layout

pytest.importorskip("mlserver")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Samples]]:
    folder = tmp_path_factory.mktemp("kserve")
    write_layout(write_candidate(folder / "c1"), folder / "package", format="kserve", name="net")
    port = free_port()
    settings = {"HOST": "127.0.0.1", "HTTP_PORT": port, "GRPC_PORT": free_port(), "METRICS_PORT": free_port()}
    environment = {f"MLSERVER_{key}": str(value) for key, value in settings.items()} | {
        "MLSERVER_PARALLEL_WORKERS": "0"
    }
    command = [sys.executable, "-c", "from mlserver.cli import main; main()", "start", str(folder / "package")]
    with open(folder / "log", "w") as log:
        server = subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log, cwd=folder)
    try:
        address = f"http://127.0.0.1:{port}/v2/models/net"
        for _ in range(600):
            if server.poll() is not None or is_ready(address):
                break
            time.sleep(0.1)
        assert is_ready(address), (folder / "log").read_text()
        yield address, read_samples(folder / "package" / "samples.npz")
    finally:
        server.terminate()
        server.wait(timeout=30)


def is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def infer(address: str, name: str, array: np.ndarray) -> dict[str, Any]:
    tensor = {"name": name, "datatype": "FP32", "shape": list(array.shape), "data": array.ravel().tolist()}
    body = json.dumps({"inputs": [tensor]}).encode()
    request = urllib.request.Request(f"{address}/infer", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return dict(json.load(answer))


def test_it_answers_as_recorded(served: tuple[str, Samples]) -> None:
    address, samples = served
    (output,) = infer(address, "x", samples.inputs["x"])["outputs"]
    assert output["name"] == "scores"
    found = np.array(output["data"], dtype=np.float32).reshape(output["shape"])
    np.testing.assert_allclose(found, samples.outputs, rtol=1e-5)


@pytest.mark.parametrize(("name", "width"), [("y", 8), ("x", 4)])
def test_a_wrong_request_is_the_clients_fault(served: tuple[str, Samples], name: str, width: int) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        infer(served[0], name, np.zeros((1, width), np.float32))
    assert caught.value.code == 400
