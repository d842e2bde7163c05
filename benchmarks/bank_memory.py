"""Peak memory of building a bank, against the limit of three times the FP32 weights plus 1 GB; random weights."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _common import Goal, Outcome, main, parser, peak_memory_gb
from _networks import VIT_B16, bert, samples, vit

from qnas_ov.ir import Scheme, export_supernet, load_or_build_bank, open_network, save_ir
from qnas_ov.measure import measure_size
from qnas_ov.terminal import TerminalProgress

NUM_SAMPLES = 4
TOKENS = 128
VIT_L16 = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
BERT_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
QUICK = ("ViT-B/16",)
FULL = ("ViT-L/16", "BERT-large")


def run(arguments: argparse.Namespace) -> Outcome:
    progress, rows, goals = TerminalProgress(), [], {}
    networks = QUICK if arguments.quick else FULL
    progress.begin("building banks", len(networks))
    with tempfile.TemporaryDirectory() as folder:
        for name in networks:
            path = Path(folder) / f"{name.replace('/', '-')}.xml"
            apart("--write", name, path)
            record = json.loads(apart("--bank", name, path).splitlines()[-1])
            weights = measure_size(path)["size_bytes"] / 1e9
            limit = 3 * weights + 1.0
            rows.append({"network": name, "FP32 weights GB": weights, "limit GB": limit, **record})
            goals[f"peak GB of {name}"] = Goal(f"<= {limit:.2f}", record["peak GB"], record["peak GB"] <= limit)
            progress.step(f"{name}: {record['peak GB']:.2f} GB")
    progress.end()
    return Outcome({n: g.value for n, g in goals.items()}, goals, {f"{NUM_SAMPLES} calibration samples": rows})


def apart(action: str, name: str, path: Path) -> str:
    """Runs a step in a process of its own, so that its peak is its own."""
    command = [sys.executable, __file__, action, name, "--path", str(path)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def write(name: str, path: Path) -> None:
    if name.startswith("ViT"):
        config = VIT_B16 if name == "ViT-B/16" else {k: v for k, v in VIT_B16.items() if k != "qnas_ov"} | VIT_L16
        save_ir(export_supernet(vit(config)), path)
    else:
        with tempfile.TemporaryDirectory() as folder:
            bert(Path(folder), **BERT_LARGE)
            shapes = {n: (1, TOKENS) for n in ("input_ids", "attention_mask", "token_type_ids")}
            save_ir(open_network(Path(folder), shapes).model, path)


def build(path: Path) -> None:
    """Builds the bank of a saved network and prints its time and the peak of this process."""
    network, rng = open_network(path), np.random.default_rng(0)
    if len(network.inputs) == 1:
        calibration = samples(rng.standard_normal((NUM_SAMPLES, *network.inputs[0].shape), dtype=np.float32))
    else:
        calibration = [
            {i.name: rng.integers(0, 2, (1, *i.shape)).astype(i.dtype) for i in network.inputs}
            for _ in range(NUM_SAMPLES)
        ]
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as cache:
        load_or_build_bank(network.model, calibration, Scheme(network.transformer), cache=Path(cache))
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "peak GB": peak_memory_gb()}))


if __name__ == "__main__":
    options = parser(__doc__)
    for action in ("--write", "--bank"):
        options.add_argument(action, help=argparse.SUPPRESS)
    options.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.write is not None:
        write(given.write, given.path)
    elif given.bank is not None:
        build(given.path)
    else:
        main(options, run)
