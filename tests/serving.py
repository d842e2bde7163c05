"""Commands that start a server: what is checked of them where the server cannot be started."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path, PurePosixPath

from qnas_ov.deploy import check_ovms, check_triton

IMAGES = {
    "openvino/model_server:latest": {"--config_path", "--rest_port", "--port", "--cpu_extension"},
    "nvcr.io/nvidia/tritonserver:<yy.mm>-py3": {"--model-repository"},
}
"""Options by image that the servers' own command lines have."""


def check_docker(command: str) -> None:
    """The folder that is mounted is a package of that server's, and the server is told where it lies.

    Raises:
        AssertionError: If not.
    """
    words = shlex.split(command)
    image = next(word for word in words if word in IMAGES)
    before, told = words[2 : words.index(image)], words[words.index(image) + 1 :]
    ports = {before[i + 1].split(":")[1] for i, word in enumerate(before) if word == "-p"}
    mount = re.fullmatch(r"\$PWD/([\w-]+):(/\w+):ro", before[before.index("-v") + 1])
    assert mount is not None, command
    folder, inside = Path(mount[1]), PurePosixPath(mount[2])
    if image.startswith("nvcr"):
        assert told.pop(0) == "tritonserver"
        check_triton(folder)
    else:
        check_ovms(folder)
    given = dict(zip(told[::2], told[1::2], strict=True))
    assert set(given) <= IMAGES[image], command
    for option in ("--config_path", "--model-repository"):
        if option in given:
            assert (folder / PurePosixPath(given[option]).relative_to(inside)).exists(), command
    assert {given[option] for option in ("--rest_port", "--port") if option in given} <= ports, command


def check_mlserver(command: str) -> None:
    """The folder holds models with settings, and the runtime that these name lies beside them.

    Raises:
        AssertionError: If not.
    """
    folder = Path(shlex.split(command)[2])
    found = list(folder.glob("*/model-settings.json"))
    assert found
    for path in found:
        settings = json.loads(path.read_text())
        assert path.with_name(settings["implementation"].split(".")[0] + ".py").is_file()
        assert (path.parent / settings["parameters"]["uri"]).is_file()
