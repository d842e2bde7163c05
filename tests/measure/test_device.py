from __future__ import annotations

from typing import Any

import pytest

from qnas_ov.core.errors import InputError
from qnas_ov.measure import check_device, describe_machine, inference_precisions, machine_digest, supported_precisions
from qnas_ov.measure import device as module


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("cpu", "CPU"),
        ("auto", "AUTO"),
        ("Auto:cpu", "AUTO:CPU"),
        ("HETERO:CPU", "HETERO:CPU"),
        ("multi: CPU", "MULTI:CPU"),
    ],
)
def test_what_openvino_lists_is_accepted(given: str, expected: str) -> None:
    assert check_device(given) == expected


@pytest.mark.parametrize("given", ["TPU", "GPU", "CPU.1", "AUTO:GPU", "HETERO:NPU,CPU", "MULTI:CPU,TPU", ""])
def test_other_devices_are_refused_with_the_list(given: str) -> None:
    with pytest.raises(InputError, match=rf"device '{given}' is not available: this machine has CPU; choose one of"):
        check_device(given)


@pytest.mark.parametrize("given", ["MULTI", "HETERO", "HETERO:", "AUTO:", "MULTI:CPU,CPU", "HETERO:CPU,"])
def test_virtual_devices_must_name_different_ones(given: str) -> None:
    with pytest.raises(InputError, match=rf"device '{given}' must name different devices after .*: write for instance"):
        check_device(given)


class Several:
    """A machine with two graphics cards and an NPU."""

    available_devices = ("CPU", "GPU.0", "GPU.1", "NPU")

    def get_property(self, device: str, name: str) -> Any:
        has = {"CPU": ["BF16", "FP16", "FP32"], "GPU": ["FP16", "FP32"], "NPU": ["FP16"]}[device.split(".")[0]]
        return has if name == "OPTIMIZATION_CAPABILITIES" else f"name of {device}"


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.ov, "Core", Several)


@pytest.mark.parametrize("given", ["GPU.1", "gpu", "NPU", "AUTO:GPU.1,CPU", "AUTO:-NPU", "HETERO:GPU,CPU"])
def test_numbered_devices(several: None, given: str) -> None:
    assert check_device(given) == given.upper()


def test_devices_that_are_not_there_beside_some_that_are(several: None) -> None:
    with pytest.raises(InputError, match=r"this machine has CPU, GPU.0, GPU.1, NPU"):
        check_device("HETERO:GPU.2,CPU")


@pytest.mark.parametrize(
    ("device", "precisions"),
    [
        ("CPU", ("bf16", "f32", "f16")),
        ("GPU.0", ("f32", "f16")),
        ("HETERO:GPU.1,CPU", ("f32", "f16")),
        ("AUTO:-GPU.0,-GPU.1,-NPU", ("bf16", "f32", "f16")),
    ],
)
def test_a_virtual_device_has_what_all_its_devices_have(
    several: None, device: str, precisions: tuple[str, ...]
) -> None:
    assert supported_precisions(device) == precisions


def test_the_machine_is_described() -> None:
    machine = describe_machine("AUTO:CPU")
    assert machine["cores_usable"] >= 1
    assert machine["packages"]["openvino"]
    assert machine["inference_precisions"] == list(inference_precisions("CPU"))
    assert {"governor", "frequency_mhz", "cgroup_cpus", "cgroup_memory_bytes", "load_1min"} <= set(machine)


def test_the_digest_holds_what_decides_latencies() -> None:
    machine = describe_machine("CPU")
    same = {**machine, "load_1min": 9.0, "frequency_mhz": 800.0, "packages": {**machine["packages"], "nncf": "9"}}
    assert machine_digest(same) == machine_digest(machine)
    for change in ({"governor": "powersave"}, {"cgroup_cpus": 0.5}, {"cores_usable": 1}, {"device": "GPU"}):
        assert machine_digest({**machine, **change}) != machine_digest(machine)
    newer = {**machine, "packages": {**machine["packages"], "openvino": "2099.1"}}
    assert machine_digest(newer) != machine_digest(machine)
