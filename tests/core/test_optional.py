from __future__ import annotations

import sys
from pathlib import Path

import pytest

from qnas_ov.core import optional
from qnas_ov.core.errors import MissingDependencyError


@pytest.fixture
def broken_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        'raise RuntimeError("operator torchvision::nms does not exist")'
    )
    (tmp_path / "needs_vision.py").write_text("import torchvision")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)


@pytest.mark.usefixtures("broken_torchvision")
def test_a_broken_torchvision_is_explained() -> None:
    assert optional.torchvision_fault() == "operator torchvision::nms does not exist"
    with pytest.raises(MissingDependencyError, match="pip uninstall torchvision"):
        optional.import_optional("needs_vision")


@pytest.mark.usefixtures("broken_torchvision")
def test_doctor_reports_it() -> None:
    from qnas_ov.doctor import examine

    report = examine()
    assert report["facts"]["torchvision"] == "broken"
    assert any("pip uninstall torchvision" in p for p in report["problems"])


def test_a_missing_package_names_its_extra() -> None:
    with pytest.raises(MissingDependencyError, match=r"pip install 'qnas-ov\[serve\]'"):
        optional.import_optional("no_such_module_at_all", extra="serve")
