"""What a search gains over the all-INT8 largest network without loss of accuracy, for a small ViT, BERT and ResNet.

The ViT is the shipped `digits-vit`. The BERT reads docstrings, the ResNet digits: both are trained here, first as they
are, then as supernets, and kept in --work. Each is searched for accuracy, latency and size; the verified front is
compared with the unsearched network on the test split. A network has lost nothing where a paired test (McNemar's) finds
no difference at 5%, or where it is no worse at all; the stricter "no fewer right" stands beside it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from _common import Outcome, at_least, main, parser
from demo_front import row as network_row

from qnas_ov.pipeline import SearchResult, TrainOptions, run_search, run_training
from qnas_ov.terminal import TerminalProgress

ACCURACY = "accuracy_top1"
GOALS = {"latency": 4.8, "size": 3.44}
"""Of SimQ-NAS (arXiv 2312.13301) against all-INT8 networks: one of the two is the aim."""

CONFIGS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "bert": ("docstrings", {
        "model_type": "bert", "architectures": ["BertForSequenceClassification"], "hidden_size": 128,
        "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 512, "vocab_size": 2048,
        "max_position_embeddings": 64, "num_labels": 8,
        "qnas_ov": {"depth": [1, 2, 3, 4, 5, 6], "heads": [1, 2, 3, 4], "ffn": [128, 192, 256, 384, 512],
                    "sequence_length": 32},
    }),
    "resnet": ("digits", {
        "model_type": "resnet", "architectures": ["ResNetForImageClassification"], "num_channels": 1, "num_labels": 10,
        "embedding_size": 64, "hidden_sizes": [96, 192], "depths": [4, 4], "layer_type": "basic",
        "qnas_ov": {"image_size": 8, "leave_out": [0, 1, 2, 3], "width": [50, 65, 80, 100], "mid": [25, 50, 75, 100]},
    }),
}  # fmt: skip
_FROM_TEACHER = {"cycles": 1, "batch_size": 64, "num_random": 2}
TRAINING: Mapping[str, dict[str, Any]] = {
    "bert": {**_FROM_TEACHER, "teacher_epochs": 16, "epochs": 8, "learning_rate": 1e-3},
    "resnet": {**_FROM_TEACHER, "teacher_epochs": 12, "epochs": 24, "learning_rate": 3e-3},
}
NETWORKS = ("vit", *CONFIGS)


def run(arguments: argparse.Namespace) -> Outcome:
    progress, work = TerminalProgress(), arguments.work
    evaluations = 24 if arguments.quick else arguments.evaluations
    networks = [n for n in NETWORKS if n in (arguments.network or NETWORKS)]
    tables: dict[str, list[dict[str, Any]]] = {}
    found, figures, goals = [], {}, {}
    for network in networks:
        settings = {"model": "digits-vit"} if network == "vit" else trained(network, work, arguments.quick, progress)
        settings |= {"objectives": ["accuracy", "latency", "size"], "evaluations": evaluations, "front_size": 16}
        out = work / f"{network}-{evaluations}-seed{arguments.seed}"
        result = run_search(
            {**settings, "seed": arguments.seed}, out=out, resume=out.exists(), progress=progress, latency_db="none"
        )
        found += headline(network, result)
        tables[f"{network}: the unsearched network"] = [row(r, r["baseline"]) for _, r in result.baselines.iterrows()]
        tables[f"{network}: the front"] = [front_row(r) for _, r in result.front.iterrows()]
        machine = json.loads((result.folder / "machine.json").read_text())
    for record in found:
        for quantity in GOALS:
            name = f"{record['network']}, {record['against']}: {quantity}, no loss"
            figures[name] = record[f"{quantity} gain"]
        if record["against"] == "all-INT8":
            nearer = max(record[f"{quantity} gain"] / bound for quantity, bound in GOALS.items())
            name = " or ".join(f"{bound}x {quantity}" for quantity, bound in GOALS.items())
            goals[f"{record['network']}: share reached of {name} against all-INT8"] = at_least(nearer, 1.0)
    return Outcome(figures, goals, {"gains without loss of accuracy": found, **tables}, machine)


def trained(network: str, work: Path, quick: bool, progress: TerminalProgress) -> dict[str, Any]:
    """The settings that find a trained supernet, which is trained unless it stands in the folder already."""
    data, config = CONFIGS[network]
    start = work / f"{network}-config"
    start.mkdir(parents=True, exist_ok=True)
    (start / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    out = work / f"{network}-trained{'-quick' if quick else ''}"
    if not (out / "model.safetensors").exists():
        settings = TRAINING[network] | ({"teacher_epochs": 2, "epochs": 2} if quick else {})
        done = run_training(
            {"model": str(start), "dataset": data},
            out=out,
            settings=settings,
            options=TrainOptions(from_scratch=True),
            resume=out.exists(),
            progress=progress,
        )
        print(f"{network}: largest {done.largest:.4f}, smallest {done.smallest:.4f}, mean {done.random_mean:.4f}")
    return {"model": str(out), "dataset": data}


def headline(network: str, result: SearchResult) -> list[dict[str, Any]]:
    """The best latency and the best size without loss, against the all-INT8 and against the float network."""
    rows = []
    for against, label in (("all-INT8", "int8"), ("f32", "f32")):
        base = reference(result.baselines, label)
        front = result.front
        same = front[f"test_delta_vs_{label}"] >= 0
        harmless = same | (front[f"test_p_vs_{label}"] >= 0.05)
        record: dict[str, Any] = {"network": network, "against": against, "its accuracy": base[f"test_{ACCURACY}"]}
        for quantity, column in (("latency", "latency_ms"), ("size", "size_bytes")):
            for suffix, allowed in (("", harmless), (", no fewer right", same)):
                best = front[allowed].nsmallest(1, column)
                name = f"{quantity} gain{suffix}"
                record[name] = float(base[column] / best[column].iloc[0]) if len(best) else 0.0
                if len(best) and not suffix:
                    record[f"best by {quantity}"] = best["candidate"].iloc[0]
                    record[f"its p, {quantity}"] = float(best[f"test_p_vs_{label}"].iloc[0])
        rows.append(record)
    return rows


def reference(baselines: pd.DataFrame, label: str) -> pd.Series:
    """The fastest all-INT8 baseline, or the float one under f32: what the front's own columns compare with."""
    if label == "f32":
        return baselines[baselines["baseline"] == "float-f32"].iloc[0]
    int8 = baselines[baselines["baseline"].str.startswith("int8-")]
    return int8.loc[int8["latency_ms"].idxmin()]


def row(record: pd.Series, name: str) -> dict[str, Any]:
    """A network as the demo's table has it; small ones need a third decimal."""
    return {**network_row(record, name), "size MB": f"{record['size_bytes'] / 1e6:.3f}"}


def front_row(record: pd.Series) -> dict[str, Any]:
    return row(record, record["candidate"]) | {
        "faster than INT8": f"{record['speedup_vs_int8']:.2f}x",
        "smaller": f"{record['size_ratio_vs_int8']:.2f}x",
        "p": f"{record['test_p_vs_int8']:.3f}",
        "INT8/float units": f"{record['units_int8']}/{record['units_float']}",
        "hint": record["inference_precision"],
    }


if __name__ == "__main__":
    options = parser(__doc__ or "")
    options.add_argument(
        "--work", type=Path, required=True, help="folder of trained networks and runs; it goes on there"
    )
    options.add_argument("--network", action="append", choices=NETWORKS, help="one of them; again for more")
    options.add_argument("--evaluations", type=int, default=120, help="candidates of each search")
    options.add_argument("--seed", type=int, default=0, help="of the searches")
    main(options, run)
