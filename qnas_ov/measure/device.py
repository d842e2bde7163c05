"""What machine this is: its fingerprint stands beside every measurement."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import openvino as ov
import psutil

from qnas_ov.core.errors import InputError, QnasError

FLAGS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
PACKAGES = ("openvino", "nncf", "torch", "transformers", "optimum-intel", "pymoo", "scikit-learn", "numpy")


def check_device(name: str) -> str:
    """Returns the device as OpenVINO spells it.

    Raises:
        InputError: If OpenVINO does not list it on this machine.
    """
    devices = ov.Core().available_devices
    if name.upper() not in {d.upper() for d in devices}:
        raise InputError(
            f"device '{name}' is not available: this machine has {', '.join(devices)}; choose one of these"
        )
    return name.upper()


def inference_precisions(device: str) -> tuple[str, ...]:
    """The floating-point inference precisions that the device computes in hardware, cheapest first."""
    capabilities = ov.Core().get_property(device, "OPTIMIZATION_CAPABILITIES")
    return ("bf16", "f32") if "BF16" in capabilities else ("f32",)


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
    try:
        full_name = str(ov.Core().get_property(device, "FULL_DEVICE_NAME"))
    except RuntimeError as error:
        raise QnasError(f"OpenVINO cannot describe device '{device}': {error}") from error
    return {
        "device": device,
        "device_name": full_name,
        "cpu": cpu_model(),
        "flags": list(cpu_flags()),
        "cores_usable": len(os.sched_getaffinity(0)),
        "cores_physical": psutil.cpu_count(logical=False),
        "memory_bytes": psutil.virtual_memory().total,
        "governor": _first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "cgroup_cpu_max": _first_line("/sys/fs/cgroup/cpu.max"),
        "load_1min": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": package_versions(),
        "inference_precisions": list(inference_precisions(device)),
    }
