"""What surgery does to a real pretrained model of 260 thousand parameters (not a test; run it by
hand).

    python tests/benchmarks/surgery_on_stories.py [--threads 2] [--only layers context]

Everything goes through the project's own stages and code: tokenizer, model and binning as stages,
training by `tasks.training.loop.Phase`, figures by `tasks.evaluation`. Prints Markdown tables;
`docs/benchmarks/` has the last ones with what follows from them. Three seeds wherever something is
drawn: the order of training rows, and the noise of `random`. A cell is the mean of the seeds and,
after ±, their standard deviation.

Texts, none of them seen by the model, which learnt TinyStories:
- stories: sampled from the model itself at temperature 1, so its own loss is the lowest that any
model can reach;
- prose: A Christmas Carol, The Darling, The Crooked Man, in documents of whole paragraphs;
- Chinese: Journey to the West (西游记), likewise;
- chapters: of Hard Times (held out) and of The House of Mirth (trained on) as long documents.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from infra.context import Context
from infra.stage import Outcome, Parameters, Stage
from infra.store import Artifact
from infra.store.attempt import Shard
from tasks.binning.stage import STAGE as BINNING
from tasks.binning.stage import BinningParameters
from tasks.checkpoints.base import open_base
from tasks.evaluation import bits_per_byte, long_text
from tasks.evaluation.model import load
from tasks.evaluation.stage import LongText
from tasks.model.importance import rank_layers
from tasks.model.stage import STAGE as MODEL
from tasks.model.stage import ModelParameters
from tasks.tokenizer.stage import STAGE as TOKENIZER
from tasks.tokenizer.stage import Expand, TokenizerParameters
from tasks.training.loop import Phase
from tasks.training.spec import Spec
from tasks.training.stage import TrainingParameters
from tests.stage_harness import run_stage

SEEDS = (0, 1, 2)
GROWN_SIZE = 1024
STORIES, STORY_TOKENS = 320, 200
HELD_OUT = 16
"""Documents of each held-out text."""
DOCUMENT_BYTES = 1200
READ_TOKENS = 256
"""Window of bits per byte; half the model's context, to save time."""
METHODS = ("mean", "mean-norm", "first", "last", "global-mean", "random")
BASE_POSITIONS = 512
BYTES_A_TOKEN = 1.75
"""Of Hard Times by the base's tokenizer (1.73 to 1.88): long text is cut by bytes."""


@dataclass(frozen=True)
class Budget:
    """A training run: rows of `length` tokens, `rows` a step."""

    steps: int
    rows: int
    length: int
    lr: float
    trainable: str = "all"


EMBEDDINGS = Budget(steps=12, rows=16, length=128, lr=3e-3, trainable="embeddings")
LAYERS = Budget(steps=24, rows=16, length=128, lr=1e-3)
CONTEXT = Budget(steps=4, rows=2, length=1024, lr=1e-3)


# --------------------------------------------------------------------------------------------------
# texts


def stories(base: Path) -> list[str]:
    """`STORIES` stories from the model itself, each until it begins another or has `STORY_TOKENS`
    tokens.
    """
    model = AutoModelForCausalLM.from_pretrained(base).eval()
    tokenizer = AutoTokenizer.from_pretrained(base)
    torch.manual_seed(20261121)
    ids = torch.full((STORIES, 1), tokenizer.bos_token_id)
    with torch.inference_mode():
        drawn = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            max_new_tokens=STORY_TOKENS,
            eos_token_id=[1, 2],
            pad_token_id=2,
        )
    return [tokenizer.decode(row, skip_special_tokens=True) for row in drawn]


def documents(text: str) -> list[str]:
    """Whole paragraphs together, about `DOCUMENT_BYTES` each."""
    found: list[str] = []
    now: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        now.append(re.sub(r"\s+", " ", paragraph.strip()))
        if sum(len(part.encode()) for part in now) >= DOCUMENT_BYTES:
            found.append("\n".join(now))
            now = []
    return found


@dataclass(frozen=True)
class Text:
    """One kind of text."""

    train: list[str]
    held_out: list[str]


def dealt(found: Sequence[str], most: int = 10**9) -> Text:
    """Every fifth document is held out, up to `HELD_OUT`; up to `most` are trained on."""
    held_out = [text for index, text in enumerate(found) if index % 5 == 4]
    train = [text for index, text in enumerate(found) if index % 5 != 4]
    return Text(train[:most], held_out[:HELD_OUT])


def book(data: Path, name: str) -> str:
    """A classic book without its head."""
    (path,) = (data / "prose_en" / "classic-books").rglob(f"{name}.md")
    return path.read_text(encoding="utf-8").partition("-------")[2]


def chapters(data: Path, name: str) -> list[str]:
    """The chapters of a novel, one paragraph a line."""
    parts = re.split(r"\n#+ +chapter[^\n]*\n", book(data, name), flags=re.IGNORECASE)[1:]
    return [
        "\n".join(re.sub(r"\s+", " ", p.strip()) for p in re.split(r"\n\s*\n", part) if p.strip())
        for part in parts
    ]


def read_texts(data: Path, base: Path) -> dict[str, Text]:
    """All texts by name."""
    prose = [
        part
        for name in ("A Christmas Carol", "The Darling", "The Crooked Man")
        for part in documents(book(data, name))
    ]
    chinese = documents(
        (data / "prose_zh" / "four-novels" / "西游记.txt").read_text(encoding="utf-8")
    )
    return {
        "stories": dealt(stories(base)),
        "prose": dealt(prose),
        "chinese": dealt(chinese, 320),
        "chapters": Text(chapters(data, "The House of Mirth"), chapters(data, "Hard Times")),
    }


class Texts(Parameters):
    """A category and its documents."""

    category: str
    texts: tuple[str, ...]


def write_texts(context: Context) -> Outcome:
    """Stage function of `SELECT`."""
    context.map(write_file, {"texts": (context.parameters.category, context.parameters.texts)})
    return Outcome()


def write_file(item: tuple[str, tuple[str, ...]], shard: Shard) -> dict[str, Any]:
    """JSONL as select writes it."""
    category, texts = item
    with shard.create(f"{category}/part-00000.jsonl") as path:
        rows = [
            {"id": f"{category}-{n}", "source": "", "target": t, "language": "und"}
            for n, t in enumerate(texts)
        ]
        path.write_text(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
        )
    return {}


SELECT = Stage(
    "select",
    1,
    Texts,
    "tests.benchmarks.surgery_on_stories:write_texts",
    "JSONL as select writes it",
)

# --------------------------------------------------------------------------------------------------
# workbench


@dataclass
class Bench:
    """Bases, texts and a store; stages run in it, inline."""

    root: Path
    threads: int
    texts: dict[str, Text]
    base: Path
    untied: Path
    spent: dict[str, float] = field(default_factory=dict)
    _bins: dict[tuple[str, str, int], list[str]] = field(default_factory=dict)
    _count: Iterator[int] = field(default_factory=itertools.count)

    def select(self, name: str) -> Artifact:
        """The training documents of one text as a select artifact."""
        return run_stage(
            SELECT,
            Texts(category=name, texts=tuple(self.texts[name].train)),
            name=name,
            tmp_path=self.root,
        )

    def tokenizer(self, base: Path, learn_from: str | None) -> Artifact:
        """The base's tokenizer, grown on a text where one is named."""
        if learn_from is None:
            return run_stage(TOKENIZER, TokenizerParameters(base=str(base)), tmp_path=self.root)
        wanted = TokenizerParameters(base=str(base), expand=Expand(size=GROWN_SIZE))
        return run_stage(TOKENIZER, wanted, {"select": self.select(learn_from)}, tmp_path=self.root)

    def model(self, tokenizer: Artifact, base: Path, **parameters: Any) -> Artifact:
        """The model stage."""
        wanted = ModelParameters(base=str(base), **parameters)
        return run_stage(
            MODEL, wanted, {"tokenizer": tokenizer}, tmp_path=self.root, cpu_threads=self.threads
        )

    def bins(self, tokenizer: Artifact, text: str, length: int) -> list[str]:
        """Folders of the text's packed rows."""
        key = (tokenizer.identity, text, length)
        if key not in self._bins:
            made = run_stage(
                BINNING,
                BinningParameters(sequence_length=length, bins=1),
                name=text,
                tmp_path=self.root,
                inputs={"select": self.select(text), "tokenizer": tokenizer},
            )
            self._bins[key] = [str(made.folder("bin-00"))]
        return self._bins[key]

    def trained(
        self,
        folder: Path,
        tokenizer: Artifact,
        mixture: Mapping[str, float],
        budget: Budget,
        seed: int,
    ) -> Path:
        """The checkpoint after a phase of training."""
        began = time.perf_counter()
        tokens = budget.steps * budget.rows * budget.length
        values = TrainingParameters.model_validate(
            {
                "tokens": f"{budget.steps * budget.rows} rows",
                "batch": budget.rows * budget.length,
                "sequence_length": budget.length,
                "mixture": dict(mixture),
                "trainable": budget.trainable,
                "schedule": {
                    "kind": "cosine",
                    "warmup": tokens // 10,
                    "final_ratio": 0.1,
                    "decay": 0.1,
                },
                "optimizer": {"lr": budget.lr},
                "micro_batch": budget.rows,
                "max_epochs": 20,
                "seed": seed,
            }
        )
        work = self.root / "training" / str(next(self._count))
        work.mkdir(parents=True)
        bins = {text: self.bins(tokenizer, text, budget.length) for text in sorted(mixture)}
        spec = Spec(
            parameters=values,
            bins=bins,
            previous=str(folder),
            state=None,
            scratch=str(work / "scratch"),
            output=str(work / "output"),
            cpu_threads=self.threads,
        )
        Phase(spec).train()
        shutil.rmtree(work / "scratch")
        self.spent["training"] = self.spent.get("training", 0) + time.perf_counter() - began
        return work / "output" / "checkpoint"

    def bits(self, folder: Path, texts: Sequence[str]) -> dict[str, float]:
        """Bits per byte of held-out text by name."""
        began = time.perf_counter()
        model = load(folder, dtype="float32", device="cpu", max_length=READ_TOKENS)
        found = {
            text: float(
                bits_per_byte.score(iter([("", t) for t in self.texts[text].held_out]), model, 16)[
                    "bits_per_byte"
                ]
            )
            for text in texts
        }
        self.spent["evaluation"] = self.spent.get("evaluation", 0) + time.perf_counter() - began
        return found


def untie(base: Path, target: Path) -> Path:
    """A copy of a tied checkpoint whose output matrix is a tensor of its own, equal to the input
    matrix.
    """
    shutil.copytree(base, target)
    tensors = load_file(target / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    return target


def cell(values: Sequence[float], digits: int = 3) -> str:
    """Mean ± standard deviation; one value, or equal ones, without."""
    mean = statistics.fmean(values)
    if len(set(values)) == 1:
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table."""
    lines = [f"\n### {title}\n", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    sys.stdout.write("\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n")
    sys.stdout.flush()


# --------------------------------------------------------------------------------------------------
# experiments


def embeddings(bench: Bench, learn_from: str, tied: bool) -> None:
    """(a) Every way to start new rows, before and after training the matrices alone."""
    base = bench.base if tied else bench.untied
    kinds: list[tuple[str, Any]] = [(method, method) for method in METHODS]
    if not tied:
        kinds = [
            (f"mean / {method}", {"input": "mean", "output": method})
            for method in ("mean", "first", "last")
        ]
    kept, grown = bench.tokenizer(base, None), bench.tokenizer(base, learn_from)
    # Pieces of English change nothing in Chinese, and Chinese in bytes is long.
    texts = ("stories", "prose", "chinese") if learn_from == "chinese" else ("stories", "prose")
    rows = []
    if tied:
        rows.append(
            _embedding_row(
                bench, "no new tokens", kept, [bench.model(kept, base)] * 3, learn_from, texts
            )
        )
    for label, method in kinds:
        seeds = SEEDS if method == "random" else (0, 0, 0)
        made = [bench.model(grown, base, embeddings=method, seed=seed) for seed in seeds]
        rows.append(_embedding_row(bench, label, grown, made, learn_from, texts))
    head = ["rows" if tied else "input / output", "share on English"]
    head += [f"{text}, at once" for text in texts] + [f"{text}, trained" for text in texts]
    what = "tied, as published" if tied else "an untied copy"
    table(f"{GROWN_SIZE - 512} new tokens learnt on {learn_from}; {what}", head, rows)


def _embedding_row(
    bench: Bench,
    label: str,
    tokenizer: Artifact,
    made: Sequence[Artifact],
    learn_from: str,
    texts: Sequence[str],
) -> list[str]:
    """One way to start new rows; `made` has a model for each seed."""
    before: dict[str, list[float]] = {text: [] for text in texts}
    after: dict[str, list[float]] = {text: [] for text in texts}
    shares = []
    known: dict[str, dict[str, float]] = {}
    for seed, model in zip(SEEDS, made, strict=True):
        folder = model.folder("checkpoint")
        if model.version not in known:
            known[model.version] = bench.bits(folder, texts)
        mass = model.statistics.get("probability_before_training") or {"new_tokens": 0.0}
        shares.append(mass["new_tokens"])
        trained = bench.trained(
            folder, tokenizer, {"stories": 0.5, learn_from: 0.5}, EMBEDDINGS, seed
        )
        found = bench.bits(trained, texts)
        for text in texts:
            before[text].append(known[model.version][text])
            after[text].append(found[text])
    return [
        label,
        cell(shares, 4),
        *(cell(before[text]) for text in texts),
        *(cell(after[text]) for text in texts),
    ]


def layers(bench: Bench) -> None:
    """(b) Five layers to four, every choice, before and after training on."""
    texts = ("stories", "prose")
    kept = bench.tokenizer(bench.base, None)
    sample = bench.texts["stories"].train[:64]
    ranks = {
        measure: rank_layers(bench.base, sample, measure) for measure in ("block-influence", "loss")
    }
    names: dict[int, list[str]] = {index: [] for index in range(5)}
    names[4].append("first 4")
    names[2].append("ends 4")
    for measure, values in ranks.items():
        names[values.index(min(values))].append(f"by {measure}")
    whole = bench.bits(bench.base, texts)
    rows = [
        [
            "none (the base)",
            "",
            "",
            "",
            *(cell([whole[text]]) for text in texts),
            *_continued(bench, bench.base, kept, texts),
        ]
    ]
    for drop in range(5):
        chosen = [index for index in range(5) if index != drop]
        folder = bench.model(kept, bench.base, layers=chosen).folder("checkpoint")
        before = bench.bits(folder, texts)
        rows.append(
            [
                str(drop),
                ", ".join(names[drop]),
                f"{ranks['block-influence'][drop]:.3f}",
                f"{ranks['loss'][drop]:.3f}",
                *(cell([before[text]]) for text in texts),
                *_continued(bench, folder, kept, texts),
            ]
        )
    head = ["dropped layer", "chosen as", "block influence", "loss without, nats"]
    head += [f"{text}, at once" for text in texts] + [f"{text}, trained" for text in texts]
    table("Five layers to four", head, rows)


def _continued(bench: Bench, folder: Path, tokenizer: Artifact, texts: Sequence[str]) -> list[str]:
    found = [
        bench.bits(bench.trained(folder, tokenizer, {"stories": 1.0}, LAYERS, seed), texts)
        for seed in SEEDS
    ]
    return [cell([bits[text] for bits in found]) for text in texts]


def context(bench: Bench) -> None:
    """(c) Loss by position beyond the 512 positions that the model was trained on."""
    kept = bench.tokenizer(bench.base, None)
    for times in (2, 4):
        length = BASE_POSITIONS * times
        # Adjusted base of NTK-aware scaling: theta x times^(d / (d - 2)) with d = 8 dimensions a
        # head.
        theta = round(10_000 * times ** (8 / 6))
        ropes: dict[str, dict[str, Any]] = {
            "default": {"type": "default"},
            "linear": {"type": "linear"},
            f"theta {theta:,}": {"type": "default", "theta": theta},
            "yarn": {"type": "yarn"},
            "dynamic": {"type": "dynamic"},
        }
        rows = []
        names: list[str] = []
        for label, rope in ropes.items():
            folder = bench.model(
                kept, bench.base, context={"positions": length, "rope": rope}
            ).folder("checkpoint")
            size = int(length * BYTES_A_TOKEN)
            asked = LongText(length_bytes=size, documents=8, bucket_bytes=size // 4)
            before = _by_position(bench, folder, asked)
            names = list(before)
            row = [label, *(cell([before[name]]) for name in names)]
            if times == 2 and rope["type"] != "dynamic":
                after = [
                    _by_position(
                        bench, bench.trained(folder, kept, {"chapters": 1.0}, CONTEXT, seed), asked
                    )
                    for seed in SEEDS
                ]
                row += [cell([found[name] for found in after]) for name in names]
            elif times == 2:
                row += [""] * len(names)
            rows.append(row)
        head = ["rope", *(f"{name or 'all'}, at once" for name in names)]
        if times == 2:
            head += [f"{name or 'all'}, trained" for name in names]
        table(
            f"{times} x the trained length: bits per byte by position in chapters of Hard Times",
            head,
            rows,
        )


def _by_position(bench: Bench, folder: Path, asked: LongText) -> dict[str, float]:
    began = time.perf_counter()
    model = load(folder, dtype="float32", device="cpu", max_length=None)
    rows, found = long_text.score(iter(bench.texts["chapters"].held_out), asked, model)
    if found["long"] < asked.documents:
        sys.stderr.write(f"only {found} chapters are long enough\n")
    bench.spent["evaluation"] = bench.spent.get("evaluation", 0) + time.perf_counter() - began
    return {name: float(row["bits_per_byte"]) for name, row in rows.items()}


EXPERIMENTS: dict[str, Callable[[Bench], None]] = {
    "chinese-tied": partial(embeddings, learn_from="chinese", tied=True),
    "chinese-untied": partial(embeddings, learn_from="chinese", tied=False),
    "prose-tied": partial(embeddings, learn_from="prose", tied=True),
    "prose-untied": partial(embeddings, learn_from="prose", tied=False),
    "layers": layers,
    "context": context,
}


def main() -> None:
    """Run the experiments and print their tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=EXPERIMENTS, default=list(EXPERIMENTS))
    given = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    data = Path(
        os.environ.get("PUNA_REAL_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")
    )
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        base = open_base(data / "model" / "stories260K", root / "opened")
        bench = Bench(
            root, given.threads, read_texts(data, base), base, untie(base, root / "untied")
        )
        for name, text in bench.texts.items():
            train, held_out = (
                sum(len(t.encode()) for t in part) for part in (text.train, text.held_out)
            )
            sys.stdout.write(
                f"- {name}: {len(text.train)} documents, {train:,} bytes to train on; "
                f"{len(text.held_out)}, {held_out:,} bytes held out\n"
            )
        for name in (name for name in EXPERIMENTS if name in given.only):
            began = time.perf_counter()
            EXPERIMENTS[name](bench)
            sys.stderr.write(f"{name}: {time.perf_counter() - began:.0f} s\n")
        sys.stderr.write(f"{ {key: round(value) for key, value in bench.spent.items()} }\n")


if __name__ == "__main__":
    main()
