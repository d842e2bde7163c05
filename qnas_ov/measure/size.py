"""Model size, from the saved files."""

from __future__ import annotations

from pathlib import Path


def measure_size(model: Path) -> dict[str, int]:
    """Bytes of a saved IR: `size_bytes` of its constants (the .bin) and `topology_bytes` of its .xml."""
    return {"size_bytes": model.with_suffix(".bin").stat().st_size, "topology_bytes": model.stat().st_size}
