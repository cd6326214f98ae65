"""How much our step costs beside a bare forward + backward + step (not a test; run it by hand).

    python tests/benchmarks/bench_training.py [--threads 2] [--rows 16] [--micro 8] [--pairs 7]
    [--steps 3]

1.8M-parameter Llama, vocabulary 2,048, rows of 256 tokens with several documents each. The bare
loop has its batches in memory, materialises logits, and uses the same fused AdamW and clipping.
Pairs are interleaved; medians of seconds of processor time over both threads (wall time in
brackets), so that a busy machine disturbs little.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tasks.documents.rows import Rows
from tasks.training.loop import Phase
from tests.tasks.training.toys import parameters, save_bins, save_model, spec

LENGTH, VOCABULARY = 256, 2048


def bare(folder: Path, bins: dict[str, list[str]], rows: int, micro: int) -> Callable[[], None]:
    """A step function of the plainest loop over the same model and kind of rows."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    read = [Rows(folders).batch(range(rows // len(bins))) for folders in bins.values()]
    batch = {name: torch.cat([torch.from_numpy(part[name]) for part in read]) for name in read[0]}
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )
    valid = int((batch["shift_labels"] != -100).sum())

    def step() -> None:
        optimizer.zero_grad()
        for at in range(0, rows, micro):
            part = slice(at, at + micro)
            output = model(
                input_ids=batch["input_ids"][part],
                position_ids=batch["position_ids"][part],
                use_cache=False,
            )
            labels = batch["shift_labels"][part].flatten()
            (
                functional.cross_entropy(output.logits.flatten(0, 1), labels, reduction="sum")
                / valid
            ).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    for name, value in {"threads": 2, "rows": 16, "micro": 8, "pairs": 7, "steps": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        sizes = {
            "hidden_size": 128,
            "intermediate_size": 352,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
        }
        folder = save_model(root / "model", layers=6, vocab_size=VOCABULARY, **sizes)
        bins = save_bins(
            root / "bins", {"a": [400], "b": [400]}, length=LENGTH, vocabulary=VOCABULARY
        )
        values = parameters(
            tokens="2M rows", max_epochs=10**9, sequence_length=LENGTH, batch=given.rows * LENGTH,
            mixture={"a": 0.5, "b": 0.5}, micro_batch=given.micro, guard={"spike": 0},
        )  # fmt: skip
        phase = Phase(spec(root, folder, bins, values, cpu_threads=given.threads))
        torch.use_deterministic_algorithms(False)
        plain = bare(folder, bins, given.rows, given.micro)
        steps = phase.plan.steps()

        def ours() -> None:
            torch.use_deterministic_algorithms(True)
            phase.step(next(steps))
            torch.use_deterministic_algorithms(False)

        results: dict[str, list[tuple[float, float]]] = {"bare": [], "ours": []}
        for pair, (name, step) in itertools.product(
            range(given.pairs + 1), (("bare", plain), ("ours", ours))
        ):
            wall, processor = time.perf_counter(), time.process_time()
            for _ in range(given.steps):
                step()
            spent = (
                (time.process_time() - processor) / given.steps,
                (time.perf_counter() - wall) / given.steps,
            )
            if pair:  # the first warms up
                results[name].append(spent)
        tokens = given.rows * LENGTH
        for name, spent in results.items():
            processor_s, wall_s = (statistics.median(column) for column in zip(*spent, strict=True))
            sys.stdout.write(
                f"{name}: {processor_s:.4f} s processor ({wall_s:.4f} s wall) a step, "
                f"{tokens / wall_s:,.0f} tokens/s\n"
            )
        for column, unit in ((0, "processor"), (1, "wall")):
            ratio = statistics.median(
                a[column] / b[column] for a, b in zip(results["bare"], results["ours"], strict=True)
            )
            sys.stdout.write(f"ours / bare speed by {unit} time: {ratio:.3f}\n")


if __name__ == "__main__":
    main()
