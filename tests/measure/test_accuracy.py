from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from qnas_ov.core.errors import MeasurementError
from qnas_ov.ir import Bank, save_ir
from qnas_ov.measure import inference_precisions, measure_size, predict_outputs
from qnas_ov.tasks import Task


def test_outputs_do_not_depend_on_batching(tiny_bank: Bank, digits: Task) -> None:
    inputs = {"pixel_values": digits.test.inputs["pixel_values"][:50]}
    outputs = [
        predict_outputs(tiny_bank.source, inputs, device="CPU", inference_precision="f32", batch_size=b)[0]
        for b in (50, 16, 64)
    ]
    assert outputs[0].shape == (50, 10)
    for other in outputs[1:]:
        np.testing.assert_allclose(outputs[0], other, atol=1e-4)


def test_the_inference_precision_is_real(tiny_bank: Bank, digits: Task) -> None:
    if "bf16" not in inference_precisions("CPU"):
        pytest.skip("this CPU has no bf16")
    inputs = {"pixel_values": digits.test.inputs["pixel_values"][:50]}
    f32, bf16 = (
        predict_outputs(tiny_bank.source, inputs, device="CPU", inference_precision=p)[0] for p in ("f32", "bf16")
    )
    assert 1e-4 < np.abs(f32 - bf16).max() < 1.0


def test_outputs_that_are_not_finite_are_a_failure(digits: Task) -> None:
    x = ov.opset13.parameter([-1, 1, 8, 8], np.float32, name="pixel_values")
    x.output(0).get_tensor().set_names({"pixel_values"})
    model = ov.Model([ov.opset13.log(ov.opset13.subtract(x, np.float32(5)))], [x])
    with pytest.raises(MeasurementError, match="not finite"):
        predict_outputs(model, digits.test.inputs, device="CPU", inference_precision="f32")


def test_size_is_of_the_saved_files(tiny_bank: Bank, tmp_path: Path) -> None:
    path = save_ir(tiny_bank.int8, tmp_path / "m.xml")
    assert measure_size(path) == {
        "size_bytes": path.with_suffix(".bin").stat().st_size,
        "topology_bytes": path.stat().st_size,
    }


def test_saving_over_a_mapped_ir_keeps_its_reader_alive(tiny_bank: Bank, tmp_path: Path, digits: Task) -> None:
    path = save_ir(tiny_bank.int8, tmp_path / "m.xml")
    mapped = ov.Core().read_model(path)
    save_ir(tiny_bank.smoothed, path)
    inputs = {"pixel_values": digits.test.inputs["pixel_values"][:4]}
    assert predict_outputs(mapped, inputs, device="CPU", inference_precision="f32")[0].shape == (4, 10)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.bin", "m.xml"]
