from __future__ import annotations

from pathlib import Path

import pytest

from qnas_ov.core.errors import MeasurementError
from qnas_ov.ir import Bank, save_ir
from qnas_ov.measure import Profile, RunSettings, inference_precisions, profile_network, read_executed_graph

SHAPES = {"pixel_values": [1, 1, 8, 8]}


def layer(kind: str, time: str, precision: str, inputs: tuple[str, ...] = ()) -> str:
    ports = "".join(f'<port id="{i}" precision="{p}"/>' for i, p in enumerate(inputs))
    return (
        f'<layer id="0" name="a {kind}" type="{kind}"><data execTimeMcs="{time}" runtimePrecision="{precision}" '
        f'primitiveType="brgemm_{precision}" originalLayersNames="x,y"/><input>{ports}</input></layer>'
    )


def graph(*layers: str) -> str:
    return f"<net><layers>{''.join(layers)}</layers></net>"


def test_time_is_shared_out_by_precision() -> None:
    found = read_executed_graph(
        graph(
            layer("FullyConnected", "50", "u8"),
            layer("MatMul", "20", "bf16"),
            layer("Reorder", "10", "i8"),
            layer("Convert", "5", "f32"),
            layer("Gather", "5", "i32"),
            layer("Softmax", "10", "f32"),
            layer("Const", "not_executed", "f32"),
        )
    )
    assert found.total_ms == pytest.approx(0.1)
    assert found.shares == pytest.approx(
        {"int8": 0.5, "bf16": 0.2, "reorders and conversions": 0.15, "f32": 0.1, "other": 0.05}
    )
    assert [k.kind for k in found.costliest][:2] == ["FullyConnected", "MatMul"]
    assert found.costliest[0].operations == ("x", "y")
    assert len(found.kernels) == 6
    assert Profile.from_json(found.to_json()) == found


def test_a_masked_attention_does_not_count_as_int8() -> None:
    """Its subgraph reports the type of the mask."""
    masked = read_executed_graph(graph(layer("Subgraph", "10", "u8", ("BF16", "BF16", "U8", "BF16"))))
    quantized = read_executed_graph(graph(layer("Subgraph", "10", "i8", ("I8", "I8", "FP32"))))
    assert masked.shares == {"bf16": 1.0}
    assert quantized.shares == {"int8": 1.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("<net><layers>", "cannot be read"),
        (graph(layer("MatMul", "soon", "f32")), "cannot be read"),
        (graph(layer("MatMul", "not_executed", "f32")), "no performance counters"),
        (graph(layer("MatMul", "0", "f32")), "less than the microsecond"),
    ],
)
def test_graphs_without_times_are_failures(text: str, message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        read_executed_graph(text)


def test_the_ten_costliest_are_given() -> None:
    found = read_executed_graph(graph(*(layer("MatMul", str(t), "f32") for t in range(1, 13))))
    assert [round(1e3 * k.time_ms) for k in found.costliest] == list(range(12, 2, -1))


@pytest.mark.parametrize("quantized", [True, False])
def test_a_real_network_is_profiled(tiny_bank: Bank, tmp_path: Path, quantized: bool) -> None:
    precision = inference_precisions("CPU")[0]
    settings = RunSettings(device="CPU", shapes=SHAPES, inference_precision=precision)
    model = save_ir(tiny_bank.int8 if quantized else tiny_bank.source, tmp_path / "m.xml")
    found = profile_network(model, settings, iterations=50)
    assert sum(found.shares.values()) == pytest.approx(1.0)
    assert ("int8" in found.shares) == quantized
    if not quantized:  # else its few operations may take less than the microsecond that counters tell
        assert precision in found.shares
    assert found.costliest[0].time_ms >= found.costliest[-1].time_ms > 0


def test_a_network_that_cannot_be_profiled_is_a_failure(tmp_path: Path) -> None:
    settings = RunSettings(device="CPU", shapes=SHAPES, inference_precision="f32")
    with pytest.raises(MeasurementError, match="ended with code 1 on no.xml"):
        profile_network(tmp_path / "no.xml", settings, iterations=5)
