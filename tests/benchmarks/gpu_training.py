"""Training on a GPU: MFU, memory, what compiling and the kind of attention are worth.

    python tests/benchmarks/gpu_training.py [--case 1.1b|8b-lora] [--peak 989] [--steps 10]
    python tests/benchmarks/gpu_training.py --toy          the same path at toy size, on a CPU too

Cases, in bf16, full recomputing off for 1.1B and on for 8B: a TinyLlama-shaped model of 1.1B at
rows of 2,048; a Llama-3-shaped one of 8B with LoRA at 8,192 (`training.adapter`).
Weights are random. Each line is a process of its own: ours with attention sdpa, varlen, flash;
compiled or not; with and without a document mask; then Hugging Face Trainer.

MFU divides the operations of `tasks.training.predict.flops` (those that attention within documents
needs) by the datasheet's peak (`--peak`, TFLOP/s of bf16 without sparsity) and by that of the
largest matrix product that this device was seen to do.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tasks.training.predict.flops import document_pairs, shape_of, training_flops
from tests.benchmarks.bench_training import prepare, run

CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "toy": (
        {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4,
         "num_key_value_heads": 2, "vocab_size": 512, "layers": 2},
        {"length": 128, "rows": 4, "micro": 2},
    ),
    "1.1b": (
        {"hidden_size": 2048, "intermediate_size": 5632, "num_attention_heads": 32,
         "num_key_value_heads": 4, "vocab_size": 32000, "layers": 22,
         "max_position_embeddings": 2048},
        {"length": 2048, "rows": 32, "micro": 8},
    ),
    "8b-lora": (
        {"hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32,
         "num_key_value_heads": 8, "vocab_size": 128256, "layers": 32,
         "max_position_embeddings": 8192},
        {"length": 8192, "rows": 4, "micro": 1,
         "others": {"recompute": "full", "adapter": {"kind": "lora", "r": 16}}},
    ),
}  # fmt: skip

VARIANTS: dict[str, dict[str, Any]] = {
    "sdpa": {"attention": "sdpa"},
    "varlen": {"attention": "varlen"},
    "flash": {"attention": "flash"},
    "auto, compiled": {"compile": True},
    "auto, selective": {"recompute": "selective"},
    "auto, no document mask": {"document_mask": False},
}


def matmul_peak(device: torch.device, size: int) -> float:
    """Operations a second of the best of 10 square matrix products in bf16."""
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(10):
        began = time.perf_counter()
        left @ right
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return float(2 * size**3 / best)


def row_flops(root: Path, length: int, frozen: bool) -> float:
    """Operations that a row of one document needs; rows of several need less attention.

    `frozen`: an adapter is trained; its own operations, under 1 %, are left out.
    """
    model = AutoModelForCausalLM.from_pretrained(root / "model", dtype=torch.bfloat16)
    model.requires_grad_(not frozen)
    return training_flops(shape_of(model), length, document_pairs([length]))


def main() -> None:
    """Measure and print, a line for each variant."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--case", choices=("1.1b", "8b-lora"), default="1.1b")
    parser.add_argument("--peak", type=float, default=989.0, help="TFLOP/s of the datasheet")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--toy", action="store_true")
    given = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type != "cuda" and not given.toy:
        raise SystemExit("no CUDA device is here; --toy runs the same path on the CPU")
    model, settings = CASES["toy" if given.toy else given.case]
    common = {"steps": 2 if given.toy else given.steps, "threads": 2, "device": device.type}
    settings = settings | common | {"precision": "bf16"}
    others = settings.get("others", {})
    measured = matmul_peak(device, 256 if given.toy else 8192)
    sys.stdout.write(f"measured peak {measured / 1e12:.3f} TFLOP/s on {device}\n")
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        prepare(root, model, settings, settings["rows"] * (settings["steps"] + 2))
        operations = settings["rows"] * row_flops(root, settings["length"], "adapter" in others)
        for name, changes in [*VARIANTS.items(), ("trainer", {})]:
            stated = settings | {"others": others | changes}
            (root / "settings.json").write_text(json.dumps(stated))
            try:
                found = run(root, "trainer" if name == "trainer" else "ours")
            except SystemExit as error:  # a kernel that is not here, a key of a later version
                sys.stdout.write(f"{name}: {str(error).strip().splitlines()[-1]}\n")
                continue
            seconds = statistics.median(found["seconds"])
            sys.stdout.write(
                f"{name}: {settings['rows'] * settings['length'] / seconds:,.0f} tokens/s, at most "
                f"{operations / seconds / (given.peak * 1e12):.1%} of the datasheet, "
                f"{operations / seconds / measured:.1%} of the measured peak, "
                f"{found['memory'] / 2**30:.2f} GiB\n"
            )


if __name__ == "__main__":
    main()
