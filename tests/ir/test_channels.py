"""Tracing elastic channels: what is found, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qnas_ov.core.errors import GraphError
from qnas_ov.families import DepthGroup, Elastic, Supernet
from qnas_ov.ir import Bank
from qnas_ov.ir.channels import plan_channels
from qnas_ov.ir.surgery import drop_blocks


def test_a_consumer_that_is_not_declared_is_refused(tiny_bank: Bank, tiny_supernet: Supernet) -> None:
    first, *rest = tiny_supernet.elastic.widths
    wrong = Elastic((replace(first, consumers=("vit.encoder.layer.1.attention.output.dense",)), *rest), ())
    with pytest.raises(GraphError, match="does not declare as a consumer"):
        plan_channels(tiny_bank.int8, wrong)


def test_a_producer_that_is_not_there_is_refused(tiny_bank: Bank, tiny_supernet: Supernet) -> None:
    first = tiny_supernet.elastic.widths[0]
    with pytest.raises(GraphError, match="has 0 weighted operations of module 'nowhere'"):
        plan_channels(tiny_bank.int8, Elastic((replace(first, producers=("nowhere",)),), ()))


def test_channels_that_reach_a_norm_are_refused(tiny_bank: Bank, tiny_supernet: Supernet) -> None:
    """The output projection feeds the residual stream: its channels cannot be cut."""
    first = tiny_supernet.elastic.widths[0]
    wrong = replace(first, producers=("vit.encoder.layer.0.attention.output.dense",))
    with pytest.raises(GraphError, match="meet"):
        plan_channels(tiny_bank.int8, Elastic((wrong,), ()))


def test_a_block_must_map_one_tensor_to_one(tiny_bank: Bank) -> None:
    with pytest.raises(GraphError, match="must leave the graph one output"):
        drop_blocks(tiny_bank.int8.clone(), [["vit.encoder.layer.0.attention.attention.nothing"]])
    with pytest.raises(GraphError, match="must take one tensor"):
        drop_blocks(tiny_bank.int8.clone(), [["vit.encoder.layer.0.intermediate"]])


def test_depth_choices_must_end_with_all_blocks() -> None:
    with pytest.raises(ValueError, match="must ascend to 2"):
        DepthGroup("depth", ("a", "b"), (1,))
