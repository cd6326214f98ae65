"""Several ranks against one process on a real model, and kills (not a test; `make ranks`).

    python tests/benchmarks/check_ranks.py [--kills 20] [--steps 50]

1. stories260K (and the same untied) on its own tokens, float64: one process with accumulation, two
   ranks, FSDP, replicas, and 2 x 2 hybrid, with micro-batches of 1 and 4. Prints the largest
   difference of loss and gradient norm over the steps, and of the weights after them.
2. Two ranks killed at random moments (half of them as soon as a checkpoint is being written, half
   of them one rank only) and run again, against the same phase undisturbed: to the bit.
3. The error of the global norm, before and after, and its time.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tasks.checkpoints.base import open_base
from tasks.training.gradients import square_sum
from tasks.training.ranks import Ranks
from tasks.training.spec import Spec
from tests.tasks.training import forked
from tests.tasks.training.test_rank_failures import kill_and_continue
from tests.tasks.training.test_ranks import result, train_all
from tests.tasks.training.toys import parameters, save_bins, spec

LENGTH, ROWS, VOCABULARY = 128, 4, 512

WAYS: dict[str, tuple[int, int, dict[str, Any]]] = {
    "1 rank, micro-batch 1 (accumulation 4)": (1, 1, {}),
    "2 ranks, FSDP, micro-batch 1 (accumulation 2)": (2, 1, {}),
    "2 ranks, FSDP, micro-batch 4": (2, 4, {}),
    "2 ranks, replicas": (2, 1, {"shard": "none"}),
    "2 ranks, FSDP, moments offloaded": (2, 4, {"offload": "optimizer"}),
    "2 x 2 ranks, hybrid": (4, 1, {"shard": "hybrid", "replicas": 2}),
    "4 ranks, FSDP": (4, 1, {}),
}


def untied(tied: Path, folder: Path) -> Path:
    """The same model with a head of its own."""
    folder.mkdir()
    for file in tied.iterdir():
        if file.suffix != ".safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text()) | {"tie_word_embeddings": False}
    (folder / "config.json").write_text(json.dumps(config))
    tensors = load_file(tied / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def compare(root: Path, real_data: Path, steps: int) -> None:
    """Part 1."""
    tied = open_base(real_data / "model/stories260K", root / "base")
    bins = save_bins(root / "bins", {"a": [60], "b": [50]}, length=LENGTH, vocabulary=VOCABULARY)
    values = {
        "tokens": f"{steps * ROWS} rows",
        "batch": ROWS * LENGTH,
        "sequence_length": LENGTH,
        "precision": "fp64",
        "max_epochs": 99,
    }
    for name, model in (("tied", tied), ("untied", untied(tied, root / "untied"))):
        single = spec(root / f"{name}-single", model, bins, parameters(**values, micro_batch=4))
        train_all(Ranks(), {"single": single})
        expected, tensors = result(single)
        print(f"{name}: loss {expected[0]['loss']:.4f} to {expected[-1]['loss']:.4f}", flush=True)
        for way, (world_size, size, devices) in WAYS.items():
            ours = spec(
                root / f"{name}-{list(WAYS).index(way)}",
                model,
                bins,
                parameters(**values, micro_batch=size, devices=devices),
            )
            if world_size == 1:
                train_all(Ranks(), {way: ours})
            else:
                forked.run(world_size, train_all, {way: ours}, timeout_s=3600)
            print(f"  {way:48}", *difference(ours, expected, tensors), flush=True)


def difference(
    ours: Spec, expected: list[dict[str, Any]], tensors: dict[str, torch.Tensor]
) -> list[str]:
    """Largest differences of losses, norms and weights; whether the rows are the same."""
    steps, weights = result(ours)
    same_rows = [step["drawn"] for step in steps] == [step["drawn"] for step in expected]
    pairs = list(zip(steps, expected, strict=True))
    apart = max(float((weights[name] - tensors[name]).abs().max()) for name in tensors)
    return [
        f"rows {'the same' if same_rows else 'DIFFER'},",
        f"loss {max(abs(a['loss'] - b['loss']) for a, b in pairs):.1e},",
        f"norm {max(abs(a['grad_norm'] - b['grad_norm']) for a, b in pairs):.1e},",
        f"weights and moments {apart:.1e}",
    ]


def norms() -> None:
    """Part 3."""
    for elements in (32_000 * 4_096, 300_000_000):
        values = torch.randn(elements, generator=torch.Generator().manual_seed(0))
        exact = math.sqrt(math.fsum(float(b.double().square().sum()) for b in values.split(2**16)))
        for name, length in (
            ("torch.nn.utils.get_total_norm", lambda x: torch.nn.utils.get_total_norm([x])),
            ("puna", lambda x: square_sum(x).sqrt()),
        ):
            began = time.perf_counter()
            error = float(length(values)) / exact - 1
            print(
                f"norm of {elements:,} elements by {name}: relative error {error:.1e}, "
                f"{time.perf_counter() - began:.2f} s",
                flush=True,
            )


def main() -> None:
    """All parts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--real-data", type=Path, default=Path("../shared/data"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), options.real_data, options.steps)
    with tempfile.TemporaryDirectory() as folder:
        killed, in_saves, of_one = kill_and_continue(Path(folder), options.kills, seed=7)
        print(
            f"killed {killed} times ({in_saves} while a checkpoint was written, {of_one} one rank "
            "of two): the same bytes as undisturbed"
        )
    norms()


if __name__ == "__main__":
    main()
