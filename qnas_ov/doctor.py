"""What `qnas-ov doctor` looks at. Imports little, so that it works where other things do not."""

from __future__ import annotations

import os
import platform
from typing import Any

from qnas_ov.core.optional import BROKEN_TORCHVISION, torchvision_fault

_INT8_FLAGS = {"avx_vnni", "avx512_vnni", "amx_int8"}


def examine() -> dict[str, Any]:
    """Facts about the machine and the installation, and the problems found: {"facts": ..., "problems": [...]}."""
    facts: dict[str, Any] = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    problems: list[str] = []
    fault = torchvision_fault()
    facts["torchvision"] = "broken" if fault else "importable or not installed"
    if fault:
        problems.append(BROKEN_TORCHVISION.format(reason=fault))
    offline = [os.environ.get(n, "").upper() for n in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")]
    facts["offline"] = any(value in ("1", "ON", "YES", "TRUE") for value in offline)
    try:
        import openvino as ov

        from qnas_ov.measure.device import cpu_flags, cpu_model, inference_precisions, package_versions

        versions = package_versions()
        facts |= {f"package {name}": version or "missing" for name, version in versions.items()}
        problems += [f"the package {name} is missing: pip install {name}" for name, v in versions.items() if v is None]
        devices = ov.Core().available_devices
        facts["devices"] = ", ".join(devices)
        facts["cpu"] = cpu_model()
        flags = cpu_flags()
        facts["cpu flags"] = ", ".join(flags) or "none that matter"
        facts["AMX"] = any(f.startswith("amx") for f in flags)
        facts["VNNI"] = any("vnni" in f for f in flags)
        facts["inference precisions"] = ", ".join(inference_precisions("CPU")) if "CPU" in devices else "no CPU device"
        if not _INT8_FLAGS & set(flags):
            problems.append("this CPU has neither VNNI nor AMX: INT8 will gain little over floating point")
    except (ImportError, RuntimeError) as error:
        problems.append(f"OpenVINO cannot be used ({error}): install qnas-ov again with pip")
    return {"facts": facts, "problems": problems}
