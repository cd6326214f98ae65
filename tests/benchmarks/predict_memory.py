"""Predicted against measured peak memory on the CPU (not a test; run it by hand).

    python tests/benchmarks/predict_memory.py [--only NAME]

Each model is trained for two steps in a process of its own, with the loss, the accumulation and
the optimizer of training. Two measures: the peak of what torch allocates (its profiler's record of
every allocation), and the process's peak resident memory above that after imports. glibc is told to
give memory back at once, so that the second measures what is used, not what was once used.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tasks.checkpoints.shapes import ModelShape
from tasks.training.predict.memory import memory_of
from tasks.training.predict.setup import Setup

CASES = {
    # name: (shape, setup)
    "wide": (
        {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 4,
         "num_attention_heads": 16, "num_key_value_heads": 4, "vocab_size": 8_000},
        {"micro_batch": 2, "sequence_length": 512},
    ),
    "long": (
        {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 8,
         "num_attention_heads": 6, "num_key_value_heads": 6, "vocab_size": 4_000},
        {"micro_batch": 1, "sequence_length": 2048, "accumulates": False},
    ),
    "vocabulary": (
        {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 3,
         "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 69_104,
         "tie_word_embeddings": True},
        {"micro_batch": 2, "sequence_length": 512},
    ),
    # further kinds: 16-bit products, recomputed layers, frozen layers
    "untied-bf16": (
        {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 4,
         "num_attention_heads": 8, "num_key_value_heads": 8, "vocab_size": 16_000},
        {"micro_batch": 4, "sequence_length": 256, "precision": "bf16"},
    ),
    "recompute": (
        {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8,
         "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 8_000},
        {"micro_batch": 4, "sequence_length": 512, "recompute": "full"},
    ),
    "embeddings-only": (
        {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 6,
         "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 16_000},
        {"micro_batch": 2, "sequence_length": 512, "trainable": "embeddings"},
    ),
}  # fmt: skip


def status(key: str) -> int:
    """Bytes of a line of /proc/self/status: VmRSS now, VmHWM at most since the last reset."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(key)


def train(name: str) -> None:
    """Two steps of the model, as training makes them."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from tasks.training.model.loss import LossModel
    from tasks.training.model.recompute import recompute_layers
    from tasks.training.recipe.sections import Optimizer
    from tasks.training.step.optimizer import AdamW, set_trainable

    sizes, stated = CASES[name]
    setup = Setup(**stated)
    config = LlamaConfig(max_position_embeddings=4096, use_cache=False, **sizes)
    language_model = LlamaForCausalLM._from_config(config, attn_implementation="sdpa")
    set_trainable(language_model, setup.trainable)
    recompute_layers(language_model, setup.recompute)
    model = LossModel(language_model)
    trainable = {n: p for n, p in language_model.named_parameters() if p.requires_grad}
    optimizer = AdamW(trainable, Optimizer())
    rows, length = setup.micro_batch, setup.sequence_length
    positions = torch.arange(length).repeat(rows, 1) % (length // 2)
    for _ in range(2):
        for _ in range(2 if setup.accumulates else 1):
            ids = torch.randint(config.vocab_size, (rows, length))
            narrow = torch.autocast("cpu", torch.bfloat16, enabled=setup.precision == "bf16")
            with narrow:
                loss, _ = model(ids, ids, positions)
            loss.backward()
            del loss
        optimizer.step(1e-4, 1.0)
        optimizer.zero_grad()


def measure(name: str, kind: str) -> int:
    """Peak bytes: of torch's allocations, or of resident memory above that after imports."""
    import torch
    import transformers.models.llama.modeling_llama  # noqa: F401
    from torch.profiler import ProfilerActivity, profile

    torch.set_num_threads(2)
    if kind == "allocated":
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
            train(name)
        events = recorded.profiler.kineto_results.events()
        changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
        return max(itertools.accumulate(size for _, size in changes))
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    train(name)
    return status("VmHWM") - before


def child(name: str, kind: str) -> int:
    """`measure` in a process of its own; glibc keeps no freed memory there."""
    environment = os.environ | {
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "MALLOC_TRIM_THRESHOLD_": "65536",
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, __file__, "--measure", name, kind]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return int(done.stdout.split()[-1])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="*", choices=CASES)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(measure(*given.measure))
        return
    print(f"{'MB':16}{'predicted':>10}{'allocated':>11}{'resident':>10}{'ratios':>15}  parts")
    for name in given.only or CASES:
        sizes, stated = CASES[name]
        memory = memory_of(ModelShape(**sizes), Setup(**stated))
        allocated, above = child(name, "allocated"), child(name, "resident")
        parts = ", ".join(f"{part} {size / 1e6:.0f}" for part, size in memory.parts.items())
        ratios = f"{memory.total / allocated:.3f} {memory.total / above:.3f}"
        print(
            f"{name:16}{memory.total / 1e6:10.0f}{allocated / 1e6:11.0f}{above / 1e6:10.0f}"
            f"{ratios:>15}  {memory.moment}: {parts}",
            flush=True,
        )


if __name__ == "__main__":
    main()
