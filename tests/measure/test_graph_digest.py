from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from run_folders import classifier

from qnas_ov.core.errors import InputError
from qnas_ov.ir import Bank, save_ir
from qnas_ov.measure import digest_graph


def saved(model: ov.Model, path: Path) -> str:
    ov.save_model(model, path, compress_to_fp16=False)
    return digest_graph(path)


def test_names_paths_and_notes_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    model = classifier(name="x")
    before = saved(model, tmp_path / "a.xml")
    model.set_friendly_name("another")
    for node in model.get_ordered_ops():
        node.set_friendly_name("renamed " + node.get_friendly_name())
        for port in node.outputs():
            port.set_names({"renamed"})
    model.set_rt_info("a policy", ["qnas_ov", "candidate"])
    assert saved(model, tmp_path / "far" / "b.xml") == before


def test_what_the_device_computes_counts(tmp_path: Path) -> None:
    x = ops.parameter([-1, 8], np.float32, name="x")
    y = ops.relu(x)
    variants = [
        classifier(0),
        classifier(1),  # other weights
        classifier(0, batch=1),  # other shape
        ov.Model([y], [x]),
        ov.Model([ops.tanh(x)], [x]),
        ov.Model([ops.softmax(x, 1)], [x]),
        ov.Model([ops.softmax(x, 0)], [x]),  # another attribute
    ]
    digests = [saved(model, tmp_path / f"{i}.xml") for i, model in enumerate(variants)]
    assert len(set(digests)) == len(variants)


def test_options_for_the_device_count(tmp_path: Path) -> None:
    model = classifier()
    before = saved(model, tmp_path / "a.xml")
    model.set_rt_info("8.0", ["runtime_options", "ACTIVATIONS_SCALE_FACTOR"])
    assert saved(model, tmp_path / "b.xml") != before


def test_saving_again_gives_the_same_digest(tiny_bank: Bank, tmp_path: Path) -> None:
    first = digest_graph(save_ir(tiny_bank.int8, tmp_path / "a.xml"))
    again = ov.Core().read_model(tmp_path / "a.xml")
    assert saved(again, tmp_path / "b.xml") == first
    assert digest_graph(save_ir(tiny_bank.source, tmp_path / "c.xml")) != first


def test_a_network_without_constants(tmp_path: Path) -> None:
    x = ops.parameter([1, 8], np.float32)
    assert len(saved(ov.Model([ops.relu(x)], [x]), tmp_path / "a.xml")) == 64


@pytest.mark.parametrize("fault", ["no xml", "no bin", "cut bin", "cut xml"])
def test_damaged_files_are_named(tmp_path: Path, fault: str) -> None:
    path = tmp_path / "a.xml"
    saved(classifier(), path)
    if fault == "no xml":
        path.unlink()
    elif fault == "no bin":
        path.with_suffix(".bin").unlink()
    elif fault == "cut bin":
        path.with_suffix(".bin").write_bytes(path.with_suffix(".bin").read_bytes()[:100])
    else:
        path.write_text(path.read_text()[:500])
    with pytest.raises(InputError, match=r"cannot read the IR .*a.xml.*with its .bin beside it"):
        digest_graph(path)
