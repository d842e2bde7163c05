"""From a torch supernet to its OpenVINO IR in FP32, with a dynamic batch axis."""

from __future__ import annotations

import logging
import warnings

import openvino as ov
import torch

from qnas_ov.families import Supernet


def export_supernet(supernet: Supernet) -> ov.Model:
    """Converts the largest network of a supernet.

    Returns:
        The IR: inputs named as in `supernet.inputs` with shape (?, ...), one output named `supernet.output`.
    """
    example = {s.name: torch.zeros((1, *s.shape), dtype=getattr(torch, s.dtype)) for s in supernet.inputs}
    shapes = [(s.name, ov.PartialShape([-1, *s.shape])) for s in supernet.inputs]
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)  # the tracer reads every attribute, of which some warn
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the tracer warns of Python branches that this network never takes
            model = ov.convert_model(supernet.model.eval(), example_input=example, input=shapes)
    finally:
        logger.setLevel(level)
    model.outputs[0].get_tensor().set_names({supernet.output})
    return model
