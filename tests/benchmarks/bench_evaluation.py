"""Evaluation against lm-evaluation-harness's own model class on the same questions.

Both score the same requests with the same weights in one process, in interleaved pairs: the harness
with `HFLM.loglikelihood` on requests that its task configurations would make, ours with
`tasks.evaluation.likelihood`. Tokenizing counts on both sides. Printed for each task: seconds of
both, the median of the pairs' ratios with its range, the largest difference of a log-likelihood,
and choices that differ. Seconds are of the processor, with one thread.

    python tests/benchmarks/bench_evaluation.py [--data FOLDER] [--items 200] [--pairs 5]
        [--tasks arc,piqa] [--tokenizer llama3-128k] [--small]

`--tokenizer`: one of the real data's, whose whole vocabulary the model has. Then logits cost most.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

from tasks.benchmarks.model import Benchmark, Format
from tasks.checkpoints.foreign_tokenizers import read_model_file
from tasks.checkpoints.llama2c import convert
from tasks.checkpoints.tokenizer_files import write_tokenizer
from tasks.evaluation import likelihood
from tasks.evaluation.items import Question, questions
from tasks.evaluation.model import LoadedModel, load

REAL = Path(os.environ.get("PUNA_REAL_DATA", Path(__file__).resolve().parents[3] / "shared/data"))

TASKS: dict[str, tuple[Format, str, str, int]] = {
    "arc-easy, 0 shots": ("arc", "world_knowledge/arc_easy.jsonl", "", 0),
    "openbookqa, 0 shots": ("openbookqa", "commonsense_reasoning/openbook_qa.jsonl", "", 0),
    "piqa, 0 shots": ("piqa", "commonsense_reasoning/piqa.jsonl", "", 0),
    "boolq, 0 shots": ("boolq", "reading_comprehension/boolq.jsonl", "", 0),
    "winogrande, 0 shots": ("winogrande", "language_understanding/winogrande.jsonl", "", 0),
    "arc-challenge, 5 shots": (
        "arc",
        "world_knowledge/arc_challenge.jsonl",
        "world_knowledge/arc_easy.jsonl",
        5,
    ),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=REAL)
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--tasks", default="", help="beginnings of names, with commas")
    parser.add_argument("--tokenizer", default="", help="a folder of tokenizers/ in the data")
    parser.add_argument("--small", action="store_true", help="stories260K itself, not widened")
    options = parser.parse_args()
    import torch
    from lm_eval.models.huggingface import HFLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = checkpoint(
            options.data, Path(scratch), small=options.small, vocabulary=options.tokenizer
        )
        model = load(folder, dtype="float32", device="cpu", max_length=None)
        theirs = HFLM(
            pretrained=model.model, tokenizer=model.tokenizer, batch_size=options.batch_size
        )
        parameters = sum(weight.numel() for weight in model.model.parameters())
        print(f"{parameters:,} parameters, {options.items} items, one thread")
        for name, (format, file, dev, shots) in TASKS.items():
            if not name.startswith(tuple(options.tasks.split(","))):
                continue
            root = options.data / "benchmarks/llm-foundry"
            benchmark = Benchmark(format=format, paths=("q",), dev=("d",), shots=shots)
            asked = questions(
                name,
                benchmark,
                benchmark.resolved_style(),
                [root / file],
                [root / dev] if dev else [],
                shots=shots,
                limit=options.items,
            )
            compare(name, asked, model, theirs, options)


def checkpoint(data: Path, folder: Path, *, small: bool, vocabulary: str = "") -> Path:
    """stories260K as a checkpoint; unless `small`, with 2,048 positions and random layers of 512
    dimensions, of a size at which arithmetic counts, and the tokenizer called `vocabulary`.
    """
    source = data / "model"
    convert(source / "stories260K/stories260K.bin", source / "stories260K/tok512.bin", folder)
    if small:
        return folder
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    wide = folder / "wide"
    if vocabulary:
        path = data / "tokenizers" / vocabulary / "tokenizer.model"
        read, settings = read_model_file(path)
        wide.mkdir()
        write_tokenizer(read, wide, settings)
    else:
        AutoTokenizer.from_pretrained(folder).save_pretrained(wide)
    tokenizer = AutoTokenizer.from_pretrained(wide)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=512,
        intermediate_size=1376,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        initializer_range=0.05,
    )
    LlamaForCausalLM(config).save_pretrained(wide)
    return wide


def compare(
    name: str, asked: list[Question], model: LoadedModel, theirs: Any, options: argparse.Namespace
) -> None:
    """Print a task's line."""
    from lm_eval.api.instance import Instance

    def of_harness() -> list[list[float]]:
        requests = [
            Instance("loglikelihood", {}, (prompt, f" {answer}"), index)
            for question in asked
            for index, (prompt, answer) in enumerate(
                zip(question.prompts, question.answers, strict=True)
            )
        ]
        found = iter(theirs.loglikelihood(requests, disable_tqdm=True))
        return [[next(found)[0] for _ in question.answers] for question in asked]

    def ours() -> list[list[float]]:
        pairs = [
            likelihood.encode_pairs(model, q.prompts, [f" {answer}" for answer in q.answers])
            for q in asked
        ]
        groups = [question.group for question in asked]
        return likelihood.log_likelihoods(pairs, groups, model, options.batch_size)

    times: dict[str, list[float]] = {"theirs": [], "ours": []}
    results: dict[str, list[list[float]]] = {}
    for pair in range(options.pairs):
        sides = [("theirs", of_harness), ("ours", ours)]
        for side, run in sides if pair % 2 else reversed(sides):
            began = time.process_time()  # other processes may share the cores
            results[side] = run()
            times[side].append(time.process_time() - began)
    ratios = sorted(t / o for t, o in zip(times["theirs"], times["ours"], strict=True))
    pairs = list(zip(results["theirs"], results["ours"], strict=True))
    difference = max(abs(a - b) for x, y in pairs for a, b in zip(x, y, strict=True))
    other = sum(x.index(max(x)) != y.index(max(y)) for x, y in pairs)
    print(
        f"{name:24} theirs {statistics.median(times['theirs']):6.2f} s, ours "
        f"{statistics.median(times['ours']):6.2f} s, {statistics.median(ratios):.2f} times as fast "
        f"({ratios[0]:.2f} to {ratios[-1]:.2f}); largest difference {difference:.1e}, "
        f"{other} choices differ",
        flush=True,
    )


if __name__ == "__main__":
    main()
