"""KServe packages in the real MLServer, in an environment of its own: `.venv/serve`, made by `tools/setup test`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from candidates import SENTENCES, picture
from PIL import Image
from run_folders import write_candidate

from qnas_ov.deploy import Samples, open_network, read_samples, write_layout
from qnas_ov.pipeline._samples import rescore
from qnas_ov.tasks import image_preprocessing

pytestmark = pytest.mark.skipif(sys.version_info >= (3, 13), reason="mlserver has no release for this Python")

DATATYPES = {"f": "FP32", "u": "UINT8", "U": "BYTES"}


@dataclass(frozen=True)
class Served:
    """A running server, and the folder with the packages."""

    address: str
    folder: Path

    def samples(self, name: str) -> Samples:
        return read_samples(self.folder / name / "samples.npz")

    def infer(self, model: str, name: str, array: np.ndarray) -> np.ndarray:
        (output,) = self.ask(model, name, array)["outputs"]
        return np.array(output["data"], dtype=np.float32).reshape(output["shape"])

    def ask(self, model: str, name: str, array: np.ndarray) -> dict[str, Any]:
        """A request of the v2 protocol, as any client makes it."""
        datatype = DATATYPES[array.dtype.kind]
        tensor = {"name": name, "datatype": datatype, "shape": list(array.shape), "data": array.ravel().tolist()}
        body = json.dumps({"inputs": [tensor]}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.address}/v2/models/{model}/infer", body, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return dict(json.load(answer))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def serving_environment() -> Path:
    found = Path(os.environ.get("QNAS_OV_SERVE", Path(sys.prefix) / "serve"))
    assert (found / "bin" / "mlserver").is_file(), f"there is no MLServer in '{found}': run tools/setup test"
    return found


@pytest.fixture(scope="module")
def served(
    image_candidate: Path, digits_candidate: Path, text_candidate: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("kserve")
    tensors = write_candidate(folder / "made" / "c1")
    candidates = {"tensors": tensors, "images": image_candidate, "digits": digits_candidate, "texts": text_candidate}
    for name, source in candidates.items():
        write_layout(source, folder / name, format="kserve", name=name, read_steps=image_preprocessing, rescore=rescore)
    settings = {"HOST": "127.0.0.1", "HTTP_PORT": free_port(), "GRPC_PORT": free_port(), "METRICS_PORT": free_port()}
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment |= {f"MLSERVER_{key}": str(value) for key, value in settings.items()}
    command = [str(serving_environment() / "bin" / "mlserver"), "start", str(folder)]
    with open(folder / "log", "w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder, start_new_session=True)
    try:
        address = f"http://127.0.0.1:{settings['HTTP_PORT']}"
        deadline = time.monotonic() + 120
        while server.poll() is None and time.monotonic() < deadline and not is_ready(f"{address}/v2/health/ready"):
            time.sleep(0.1)
        assert is_ready(f"{address}/v2/health/ready"), (folder / "log").read_text()
        assert all(is_ready(f"{address}/v2/models/{name}/ready") for name in candidates)
        yield Served(address, folder)
    finally:
        server.terminate()
        try:
            server.wait(timeout=30)
        finally:
            stop_group(server.pid)


def stop_group(group: int) -> None:
    """Ends what the server left behind, its workers for instance."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_the_server_knows_nothing_of_this_project() -> None:
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('qnas_ov') is not None)"
    python = serving_environment() / "bin" / "python"
    assert subprocess.run([python, "-I", "-c", code], cwd="/", check=False).returncode == 0


@pytest.mark.parametrize(("model", "name"), [("tensors", "x"), ("images", "pixel_values"), ("texts", "text")])
def test_it_answers_as_recorded(served: Served, model: str, name: str) -> None:
    samples = served.samples(model)
    found = served.infer(model, name, samples.inputs[name])
    np.testing.assert_array_equal(found.argmax(1), samples.outputs.argmax(1))
    np.testing.assert_allclose(found, samples.outputs, atol=1e-3 * np.ptp(samples.outputs))


def test_it_reads_handwritten_digits(served: Served) -> None:
    samples = served.samples("digits")
    found = served.infer("digits", "pixel_values", samples.inputs["pixel_values"])
    np.testing.assert_array_equal(found.argmax(1), samples.outputs.argmax(1))
    labels = (served.folder / "digits" / "digits" / "labels.txt").read_text().split()
    assert [labels[i] for i in found.argmax(1)] == [str(i) for i in samples.outputs.argmax(1)]


@pytest.mark.parametrize(("height", "width"), [(32, 32), (77, 41)])
def test_a_client_sends_an_image_of_any_size(served: Served, image_candidate: Path, height: int, width: int) -> None:
    image = picture(height, width, seed=7)
    pixels = image_preprocessing(image_candidate).apply(Image.fromarray(image))
    core, model = open_network(image_candidate / "openvino_model.xml")
    wanted = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(pixels[None])[0]
    assert served.infer("images", "pixel_values", image[None]).argmax() == wanted.argmax()


def test_a_client_sends_sentences(served: Served, text_candidate: Path) -> None:
    samples = read_samples(text_candidate / "samples.npz")  # of the same sentences, as tokens
    found = served.infer("texts", "text", np.array(SENTENCES))
    np.testing.assert_array_equal(found.argmax(1), samples.outputs.argmax(1))


@pytest.mark.parametrize(
    ("model", "name", "array"),
    [
        ("tensors", "y", np.zeros((1, 8), np.float32)),
        ("tensors", "x", np.zeros((1, 4), np.float32)),
        ("images", "pixel_values", np.zeros((1, 32, 32, 3), np.float32)),
        ("images", "pixel_values", np.zeros((1, 3, 32, 32), np.uint8)),
        ("texts", "text", np.zeros((1,), np.float32)),
    ],
)
def test_a_wrong_request_is_the_clients_fault(served: Served, model: str, name: str, array: np.ndarray) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        served.ask(model, name, array)
    assert caught.value.code == 400
    assert name in json.load(caught.value)["error"]
