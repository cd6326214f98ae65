"""Several ranks against one process on a real model, and kills (not a test; `make ranks`).

    python tests/benchmarks/check_ranks.py [--kills 20] [--steps 50] [--only ranks|kills|norms]

1. stories260K (and the same untied) on English prose: one process with accumulation, two ranks,
   FSDP, replicas, and 2 x 2 hybrid, with micro-batches of 1 and 4; then 2, 1 and 2 ranks in one
   phase. The same rows; losses within 1e-10 nats in float64, 1e-5 in float32.
2. Two ranks killed at random moments (half of them as soon as a checkpoint is being written, half
   of them one rank only), once with the newest checkpoint truncated, and run again, against the
   same phase undisturbed: to the bit. Then the same with 2, 1 and 4 ranks in turn: the same rows.
3. The error of the global norm, before and after, and its time.

Ends with an error where a bound does not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tasks.binning.pack import pack
from tasks.binning.write import Documents, write_rows
from tasks.checkpoints.base import open_base
from tasks.documents.tokenize import DocumentTokenizer
from tasks.training.distributed.ranks import Ranks
from tasks.training.spec import Spec
from tasks.training.step.gradients import square_sum
from tests.tasks.training import forked
from tests.tasks.training.distributed.test_rank_failures import kill_and_continue
from tests.tasks.training.distributed.test_ranks import result, train_all, train_until
from tests.tasks.training.doubles import in_float64
from tests.tasks.training.toys import parameters, spec

LENGTH, ROWS = 64, 4

BOUNDS = {"fp64": 1e-10, "fp32": 1e-5}
"""Nats by which a step's loss may differ from one process's."""

PROSE = {
    "verse": "prose_en/tinyshakespeare/input.txt",
    "novel": "prose_en/classic-books/Charles Dickens/A Christmas Carol.md",
}
CHARACTERS = 40_000
"""Of each."""

Way = tuple[int, int, dict[str, Any]]
"""Ranks, micro-batch, `devices`."""

WAYS: dict[str, Way] = {
    "1 rank, micro-batch 1 (accumulation 4)": (1, 1, {}),
    "2 ranks, FSDP, micro-batch 1 (accumulation 2)": (2, 1, {}),
    "2 ranks, FSDP, micro-batch 4": (2, 4, {}),
    "2 ranks, replicas": (2, 1, {"shard": "none"}),
    "2 ranks, FSDP, moments offloaded": (2, 4, {"offload": "optimizer"}),
    "2 x 2 ranks, hybrid": (4, 1, {"shard": "hybrid", "replicas": 2}),
    "4 ranks, FSDP": (4, 1, {}),
}
WITH_TIED_ONLY = ("2 ranks, FSDP, moments offloaded", "4 ranks, FSDP")
IN_FLOAT32 = ("2 ranks, FSDP, micro-batch 4", "2 x 2 ranks, hybrid")


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


def prose_bins(real_data: Path, model: Path, folder: Path) -> dict[str, list[str]]:
    """Paragraphs of books, packed by binning's own code with the model's tokenizer."""
    tokenizer = DocumentTokenizer(model)
    bins = {}
    for category, path in PROSE.items():
        text = (real_data / path).read_text(encoding="utf-8")[:CHARACTERS]
        encoded = tokenizer.encode([("", part) for part in text.split("\n\n") if part.strip()])
        lengths = np.array([len(document.ids) for document in encoded], np.int64)
        documents = Documents(
            pa.array([f"{category}-{number}" for number in range(len(encoded))]),
            np.concatenate([document.ids for document in encoded]).astype(np.uint32),
            np.cumsum(lengths) - lengths,
            lengths,
            np.zeros(len(encoded), np.int64),
        )
        bins[category] = [str(folder / category)]
        (folder / category).mkdir(parents=True)
        write_rows(
            folder / category / "data-00000-of-00001.arrow",
            documents,
            pack(lengths, LENGTH),
            sequence_length=LENGTH,
            padding=tokenizer.padding,
            loss_on_source=False,
        )
    return bins


def compare(root: Path, real_data: Path, steps: int) -> None:
    """Part 1."""
    tied = open_base(real_data / "model/stories260K", root / "base")
    other = untied(tied, root / "untied")
    bins = prose_bins(real_data, tied, root / "bins")
    for name, model, precision, ways in (
        ("tied", tied, "fp64", list(WAYS)),
        ("untied", other, "fp64", [way for way in WAYS if way not in WITH_TIED_ONLY]),
        ("tied", tied, "fp32", IN_FLOAT32),
    ):

        def made(
            way: str,
            size: int,
            devices: dict[str, Any],
            at: Path = root / f"{name}-{precision}",
            model: Path = model,
            precision: str = precision,
        ) -> Spec:
            values = parameters(
                tokens=f"{steps * ROWS} rows",
                batch=ROWS * LENGTH,
                sequence_length=LENGTH,
                precision=precision,
                max_epochs=99,
                micro_batch=size,
                devices=devices,
            )
            return spec(at / way.replace(" ", "-"), model, bins, values)

        # transformers' norms round to float32, whatever the weights' type.
        with in_float64() if precision == "fp64" else contextlib.nullcontext():
            single = made("single", ROWS, {})
            train_all(Ranks(), {"single": single})
            expected, tensors = result(single)
            losses = f"{expected[0]['loss']:.4f} to {expected[-1]['loss']:.4f}"
            print(f"{name}, {precision}: {len(expected)} steps, loss {losses}", flush=True)
            for way in ways:
                world_size, size, devices = WAYS[way]
                ours = made(way, size, devices)
                if world_size == 1:
                    train_all(Ranks(), {way: ours})
                else:
                    forked.run(world_size, train_all, {way: ours}, timeout_s=600)
                print(f"  {way:48}", *difference(ours, expected, tensors, precision), flush=True)
            if model != tied or precision != "fp64":
                continue
            ours = made("resized", 1, {})
            forked.run(2, train_until, ours, steps // 3, timeout_s=600)
            train_until(Ranks(), ours, steps // 3)
            forked.run(2, train_until, ours, steps, timeout_s=600)
            line = difference(ours, expected, tensors, precision)
            print(f"  {'2, then 1, then 2 ranks':48}", *line, flush=True)


def difference(
    ours: Spec,
    expected: list[dict[str, Any]],
    tensors: dict[str, torch.Tensor],
    precision: str,
) -> list[str]:
    """Largest differences of losses, norms and weights.

    Raises:
        SystemExit: a loss differs by more than its bound, or other rows were drawn.
    """
    steps, weights = result(ours)
    if [step["drawn"] for step in steps] != [step["drawn"] for step in expected]:
        sys.exit("other rows were drawn than by one process")
    pairs = list(zip(steps, expected, strict=True))
    of_loss = max(abs(a["loss"] - b["loss"]) for a, b in pairs)
    if not of_loss <= BOUNDS[precision]:
        sys.exit(f"losses differ by {of_loss:.1e} nats, more than {BOUNDS[precision]:.0e}")
    apart = max(float((weights[name] - tensors[name]).abs().max()) for name in tensors)
    return [
        "the same rows; differences: loss",
        f"{of_loss:.1e},",
        f"norm {max(abs(a['grad_norm'] - b['grad_norm']) for a, b in pairs):.1e},",
        f"weights and moments {apart:.1e}",
    ]


def kill_often(kills: int) -> None:
    """Part 2."""
    for sizes in ((2,), (2, 1, 4)):
        with tempfile.TemporaryDirectory() as folder:
            killed, in_saves, of_one = kill_and_continue(
                Path(folder), kills, seed=7, sizes=sizes, truncate=True
            )
        print(
            f"ranks {sizes}: killed {killed} times ({in_saves} while a checkpoint was written, "
            f"{of_one} one rank of several), once the newest checkpoint truncated: the same "
            + ("bytes as undisturbed" if len(sizes) == 1 else "rows, and weights to 1e-5"),
            flush=True,
        )
        if kills >= 20 and (in_saves < 5 or of_one < 1):
            sys.exit("too few kills within a save, or of one rank alone")


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
    parser.add_argument("--only", choices=("ranks", "kills", "norms"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.only in (None, "ranks"):
        with tempfile.TemporaryDirectory() as folder:
            compare(Path(folder), options.real_data, options.steps)
    if options.only in (None, "kills"):
        kill_often(options.kills)
    if options.only in (None, "norms"):
        norms()


if __name__ == "__main__":
    main()
