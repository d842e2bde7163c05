from __future__ import annotations

import pytest

from qnas_ov.core.errors import UnknownNameError, unknown_name
from qnas_ov.core.records import Evaluation, metric_objective, resolve_objectives
from qnas_ov.core.registry import Registry


def test_unknown_name_lists_choices_and_the_nearest() -> None:
    error = unknown_name("model", "digit-vit", ["digits-vit", "vit-base"])
    assert str(error) == "unknown model 'digit-vit': choose one of digits-vit, vit-base; did you mean 'digits-vit'?"
    assert isinstance(error, KeyError)
    assert error.exit_code == 2


def test_registry_refuses_duplicates() -> None:
    registry: Registry[int] = Registry("thing")
    registry.add("a", 1)
    with pytest.raises(ValueError, match="registered twice"):
        registry.add("a", 2)
    assert registry.get("a") == 1


def test_objectives_keep_their_order_and_refuse_nonsense() -> None:
    found = resolve_objectives(("size", "accuracy"), metric="accuracy_top1")
    assert [o.column for o in found] == ["size_bytes", "accuracy_top1"]
    assert found[1] == metric_objective("accuracy_top1")
    with pytest.raises(UnknownNameError, match="did you mean 'latency'"):
        resolve_objectives(("latncy", "size"), metric="accuracy_top1")
    with pytest.raises(ValueError, match="a search needs an objective: got none"):
        resolve_objectives((), metric="accuracy_top1")
    with pytest.raises(ValueError, match="must differ"):
        resolve_objectives(("size", "size"), metric="accuracy_top1")


@pytest.mark.parametrize("values", [{}, {"latency_ms": float("nan")}, {"latency_ms": float("inf")}])
def test_an_evaluation_is_measured_or_failed_and_never_nan(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        Evaluation("k", "search", "c001", (0,), "ok", values)
    with pytest.raises(ValueError, match="reason"):
        Evaluation("k", "search", "c001", (0,), "failed")
