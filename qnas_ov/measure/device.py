"""What machine this is: its fingerprint stands beside every measurement."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import openvino as ov
import psutil

from qnas_ov.core.errors import InputError, QnasError
from qnas_ov.core.fingerprint import digest_json
from qnas_ov.measure.conditions import cgroup_folders, frequency_mhz

FLAGS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
PACKAGES = ("openvino", "nncf", "torch", "transformers", "optimum-intel", "pymoo", "scikit-learn", "numpy")

VIRTUAL = ("AUTO", "MULTI", "HETERO")
"""Devices that hand the network to others; MULTI and HETERO must be told which."""

_KEY = ("device", "device_name", "cpu", "flags", "cores_usable", "cores_physical", "governor", "cgroup_cpus", "system")


def check_device(name: str) -> str:
    """Returns the device as OpenVINO spells it: "CPU", "GPU.0", "AUTO", "AUTO:GPU,CPU", "HETERO:GPU.1,CPU".

    Raises:
        InputError: If OpenVINO does not list it, or a device in it, on this machine.
    """
    given = name.upper()
    plugin, colon, rest = given.partition(":")
    if plugin not in VIRTUAL:
        return _check_listed(given, name)
    if not colon and plugin == "AUTO":
        return given
    chosen = [part.strip() for part in rest.split(",")]
    if not all(chosen) or len(set(chosen)) != len(chosen):
        raise InputError(
            f"device '{name}' must name different devices after {plugin}: write for instance {plugin}:"
            f"{','.join(ov.Core().available_devices)}"
        )
    for part in chosen:
        _check_listed(part.removeprefix("-") if plugin == "AUTO" else part, name)
    return f"{plugin}:{','.join(chosen)}"


def _check_listed(device: str, given: str) -> str:
    devices = [d.upper() for d in ov.Core().available_devices]
    # Where there are GPU.0 and GPU.1, "GPU" is the first of them.
    if device not in {*devices, *(d.split(".")[0] for d in devices)}:
        virtual = ", ".join(VIRTUAL)
        raise InputError(
            f"device '{given}' is not available: this machine has {', '.join(devices)}; choose one of these, or "
            f"{virtual} over them"
        )
    return device


def base_devices(device: str) -> list[str]:
    """The devices that a checked device may run on: itself, or those that a virtual one is given."""
    plugin, _, rest = device.partition(":")
    if plugin not in VIRTUAL:
        return [device]
    parts = rest.split(",") if rest else []
    named = [p for p in parts if not p.startswith("-")]
    excluded = {p[1:] for p in parts if p.startswith("-")}
    return named or [d for d in ov.Core().available_devices if d not in excluded]


def inference_precisions(device: str) -> tuple[str, ...]:
    """The floating-point inference precisions that the device computes in hardware, cheapest first.

    Of a virtual device those that all its devices have.
    """
    has_bf16 = all("BF16" in _property(d, "OPTIMIZATION_CAPABILITIES") for d in base_devices(device))
    return ("bf16", "f32") if has_bf16 else ("f32",)


def supported_precisions(device: str) -> tuple[str, ...]:
    """What the device can be asked for: `inference_precisions`, of which a search chooses, and f16 if it has that."""
    has_f16 = all("FP16" in _property(d, "OPTIMIZATION_CAPABILITIES") for d in base_devices(device))
    return (*inference_precisions(device), *(("f16",) if has_f16 else ()))


def _property(device: str, name: str) -> Any:
    try:
        return ov.Core().get_property(device, name)
    except RuntimeError as error:
        raise QnasError(f"OpenVINO cannot describe device '{device}': {str(error).strip().splitlines()[-1]}") from error


def cpu_flags() -> tuple[str, ...]:
    """The CPU flags that decide how fast INT8 and bf16 run."""
    try:
        text = Path("/proc/cpuinfo").read_text()
        present = set(next(line for line in text.splitlines() if line.startswith("flags")).split(":", 1)[1].split())
    except (OSError, StopIteration):
        import cpuinfo

        present = set(cpuinfo.get_cpu_info().get("flags", ()))
    return tuple(flag for flag in FLAGS if flag in present)


def multiplies_int8_exactly() -> bool:
    """Whether the CPU sums products of INT8 numbers in 32 bits (VNNI, AMX); older ones saturate at 16 bits."""
    return any("vnni" in flag or flag == "amx_int8" for flag in cpu_flags())


def cpu_model() -> str:
    """The CPU's name as its maker writes it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def package_versions() -> dict[str, str | None]:
    """Versions of the packages that results depend on; None where one is not installed."""
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def _first_line(path: str) -> str | None:
    try:
        return Path(path).read_text().strip().splitlines()[0]
    except (OSError, IndexError):
        return None


def describe_machine(device: str) -> dict[str, Any]:
    """The machine as `machine.json` holds it; without host names or anything personal."""
    return {
        "device": device,
        "device_name": ", ".join(str(_property(d, "FULL_DEVICE_NAME")) for d in base_devices(device)),
        "cpu": cpu_model(),
        "flags": list(cpu_flags()),
        "cores_usable": len(os.sched_getaffinity(0)),
        "cores_physical": psutil.cpu_count(logical=False),
        "memory_bytes": psutil.virtual_memory().total,
        "governor": _first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "frequency_mhz": frequency_mhz(),
        "cgroup_cpu_max": _first_line("/sys/fs/cgroup/cpu.max"),
        "cgroup_cpus": cgroup_cpus(),
        "cgroup_memory_bytes": cgroup_memory_bytes(),
        "load_1min": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": package_versions(),
        "inference_precisions": list(inference_precisions(device)),
    }


def machine_digest(machine: Mapping[str, Any]) -> str:
    """Digest of what decides latencies of a described machine: hardware, limits, governor, and OpenVINO's version.

    Load and frequency change from minute to minute and stand beside each measurement instead.
    """
    facts = {name: machine.get(name) for name in _KEY}
    return digest_json({**facts, "openvino": machine["packages"]["openvino"]})


def cgroup_cpus() -> float | None:
    """How many CPUs' time the cgroup may use: the tightest quota of ours and of those around it; None without one."""
    quotas = []
    for folder in cgroup_folders():
        quota, _, period = (_first_line(str(folder / "cpu.max")) or "max").partition(" ")
        if quota.isdigit() and period.isdigit() and int(period):
            quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def cgroup_memory_bytes() -> int | None:
    """The cgroup's limit of memory, or None without one."""
    limits = [_first_line(str(folder / "memory.max")) or "max" for folder in cgroup_folders()]
    return min((int(limit) for limit in limits if limit.isdigit()), default=None)
