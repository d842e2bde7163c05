"""Packages are whole or not there, whatever happens meanwhile, and the same run gives the same bytes anywhere."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from run_folders import write_run

from qnas_ov.core.errors import PackageError
from qnas_ov.deploy import FORMATS, InputSettings, write_layout
from qnas_ov.pipeline import verify_package
from qnas_ov.pipeline._samples import rescore
from qnas_ov.tasks import image_preprocessing

# Packages in children of a process that has not used OpenVINO yet (it has threads afterwards), each with another fate.
FATES = """
import json, os, resource, signal, sys
from pathlib import Path

import openvino, transformers
from qnas_ov import cli, pipeline, tasks

run, out, report = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
CHANGES = {"open", "os.mkdir", "os.rename", "os.chmod", "os.remove", "os.rmdir", "shutil.copyfile"}

def package(fate, number, target):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(write, 2)
        os.dup2(write, 1)
        if fate == "killed":
            left = [number]
            def watch(event, arguments):
                if event in CHANGES and str(arguments[0]).startswith(str(target.parent)):
                    left[0] -= 1
                    if left[0] == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
            sys.addaudithook(watch)
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, (number, number))
        sys.argv = ["qnas-ov", "package", str(run), "--select", "c1", "--format", "ovms", "--out", str(target)]
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        os._exit(code)
    os.close(write)
    with os.fdopen(read) as stream:
        errors = stream.read()
    status = os.waitpid(child, 0)[1]
    folder = target.parent
    return {
        "number": number,
        "killed": os.WIFSIGNALED(status),
        "code": os.waitstatus_to_exitcode(status),
        "errors": errors,
        "whole": target.exists(),
        "left": sorted(p.name for p in folder.iterdir()) if folder.exists() else [],
    }

tasks.image_preprocessing(run / "deploy" / "c1")  # imports the last of what packaging needs
found = {"killed": [], "full": []}
number = 1
while not found["killed"] or not found["killed"][-1]["whole"]:
    found["killed"].append(package("killed", number, out / "killed" / "p"))
    number += 3
size = 100
while not found["full"] or found["full"][-1]["code"] != 0:
    found["full"].append(package("full", size, out / "full" / "p"))
    size = int(size * 1.7)
report.write_text(json.dumps(found))
"""


@pytest.fixture(scope="module")
def run(image_candidate: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose c1 takes images."""
    folder = write_run(tmp_path_factory.mktemp("run") / "run")
    shutil.rmtree(folder / "deploy" / "c1")
    shutil.copytree(image_candidate, folder / "deploy" / "c1")
    return folder


@pytest.fixture(scope="module")
def fates(run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[dict]]]:
    out = tmp_path_factory.mktemp("fates")
    command = [sys.executable, "-c", FATES, str(run), str(out), str(out / "report")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stderr
    return out, json.loads((out / "report").read_text())


def test_kill_9_leaves_no_half_package(fates: tuple[Path, dict[str, list[dict]]]) -> None:
    out, found = fates
    killed, last = found["killed"][:-1], found["killed"][-1]
    assert len(killed) >= 5
    assert all(f["killed"] for f in killed)
    assert all(len(f["left"]) <= 1 for f in killed), "what an earlier one left was removed"
    assert last["left"] == ["p"]
    assert verify_package(out / "killed" / "p").repeated is not None


def test_a_full_disk_is_one_sentence_and_leaves_nothing(fates: tuple[Path, dict[str, list[dict]]]) -> None:
    out, found = fates
    full, last = found["full"][:-1], found["full"][-1]
    assert len(full) >= 5
    for fate in full:
        assert (fate["code"], fate["left"]) == (2, []), fate
        (line,) = fate["errors"].strip().splitlines()
        assert line.startswith("Error: cannot ")
        assert "make room" in line
    assert (last["code"], last["left"]) == (0, ["p"])
    assert verify_package(out / "full" / "p").repeated is not None


PACKAGE_ALL = """
import hashlib, json, sys
from pathlib import Path
from qnas_ov.deploy import FORMATS, InputSettings, write_layout
from qnas_ov.pipeline._samples import rescore
from qnas_ov.tasks import image_preprocessing

target = Path(sys.argv[1])
for source in map(Path, sys.argv[2:]):
    for format in FORMATS:
        embed = True if format == "ir" else None
        write_layout(source, target / source.name / format, format=format, inputs=InputSettings(embed=embed),
                     read_steps=image_preprocessing, rescore=rescore)
"""


def digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def packages(
    image_candidate: Path, digits_candidate: Path, text_candidate: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Every candidate in every format, made by another process."""
    folder = tmp_path_factory.mktemp("packages")
    sources = [str(c) for c in (image_candidate, digits_candidate, text_candidate)]
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", PACKAGE_ALL, str(folder), *sources]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("kind", ["image", "digits", "text"])
def test_another_process_writes_the_same_bytes(
    request: pytest.FixtureRequest, packages: Path, tmp_path: Path, kind: str
) -> None:
    source = request.getfixturevalue(f"{kind}_candidate")
    for format in FORMATS:
        inputs = InputSettings(embed=True if format == "ir" else None)
        write_layout(
            source, tmp_path / format, format=format, inputs=inputs, read_steps=image_preprocessing, rescore=rescore
        )
    assert digests(tmp_path) == digests(packages / kind)


@pytest.mark.parametrize("kind", ["image", "text"])
@pytest.mark.parametrize("format", FORMATS)
def test_every_tampered_file_is_refused(packages: Path, tmp_path: Path, kind: str, format: str) -> None:
    folder = Path(shutil.copytree(packages / kind / format, tmp_path / "p"))
    verify_package(folder)
    names = [name for name in digests(folder) if name != "manifest.json"]
    assert len(names) >= 5
    for name in names:
        content = (folder / name).read_bytes()
        changed = bytearray(content)
        changed[len(changed) // 2] ^= 1
        for wrong, message in (
            (bytes(changed), "does not have the SHA-256"),
            (content[:-1], "does not have the SHA-256"),
        ):
            (folder / name).write_bytes(wrong)
            with pytest.raises(PackageError, match=f"'{name}' in .* {message}"):
                verify_package(folder)
        (folder / name).unlink()
        with pytest.raises(PackageError, match=f"'{name}' of the package .* is missing"):
            verify_package(folder)
        (folder / name).write_bytes(content)
    verify_package(folder)
    added = folder / "net" / "__pycache__" / "openvino_runtime.cpython-311.pyc"
    added.parent.mkdir(parents=True)
    added.write_bytes(b"")
    with pytest.raises(PackageError, match=r"'net/__pycache__/openvino_runtime.* is not in its manifest"):
        verify_package(folder)
