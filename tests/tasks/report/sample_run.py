"""A whole small run of made-up artifacts, with what strains a page: long names, many digits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from infra.ledger import Ledger
from infra.store import Artifact
from tasks.checkpoints.tokenizer_files import size_of
from tasks.tokenizer.expand import grow
from tasks.tokenizer.measure import measure, report
from tasks.tokenizer.texts import SampleText
from tests.tasks.checkpoints.samples import CHINESE, ENGLISH, sentencepiece_base
from tests.tasks.report.made import made

SENTENCE = "今天我们去公园看花，天气不错，公园里有很多人。"
SAMPLE = {
    "web-zh": [SampleText(SENTENCE, "web-zh", "zh")],
    "web-en": [SampleText(ENGLISH[0], "web-en", "en")],
}


def tokenizer(tmp_path: Path, *, grown: bool = True) -> Artifact:
    base = sentencepiece_base()
    if not grown:
        statistics = {"size": size_of(base), "new_tokens": 0, **measure(base, base, [], SAMPLE)}
        return made(
            "tokenizer",
            statistics,
            {"report.json": report(base, base, [], [], 0, SAMPLE)},
            tmp_path,
        )
    grown = grow(base, CHINESE + ENGLISH, size_of(base) + 40)
    after, tokens = grown.tokenizer, grown.tokens
    numbers = report(base, after, tokens, grown.steps, grown.tokens_before, SAMPLE)
    statistics = {"size": size_of(after), "new_tokens": 40, **measure(base, after, tokens, SAMPLE)}
    return made("tokenizer", statistics, {"report.json": numbers}, tmp_path)


def cluster(number: int, size: int) -> dict[str, Any]:
    members = [
        {
            "id": f"member-{number}-{n}",
            "source": "zh-web" if n else "forum",
            "kind": "near",
            "similarity": 0.9 - n / 100,
        }
        for n in range(min(size - 1, 5))
    ]
    return {
        "representative": f"document-{number}",
        "source": "zh-web",
        "crawl": "" if number else "select/zh-web@january",
        "size": size,
        "exact": 0,
        "near": size - 1,
        "members": members,
    }


SIZES = [40, *(20 - n for n in range(17))]
DUPLICATES = {
    "eligible": 1_000,
    "exact": 0,
    "near": sum(SIZES) - len(SIZES),
    "cluster_sizes": [
        {"from": low, "to": 2 * low - 1, "clusters": len(inside), "documents": sum(inside)}
        for low in (2, 4, 8, 16, 32)
        if (inside := [size for size in SIZES if low <= size < 2 * low]) is not None
    ],
}


def dedup(tmp_path: Path) -> Artifact:
    rows = [cluster(number, size) for number, size in enumerate(SIZES)]
    return made("dedup", DUPLICATES, {"clusters.parquet": rows}, tmp_path)


SOURCES = ("crawl", "forum-of-a-small-town.with_a_very_long_name_2026")
CATEGORIES = ("web-zh", "web-en")
MANY = 123_456_789_012
"""Documents or bytes of a large run."""


FELL = "exam (acc) fell by 0.1000 ± 0.0200, from 0.5000 to 0.4000"
CARD = {
    "first": False,
    "refused": [FELL],
    "scores": [
        {
            "row": "exam",
            "metric": "acc",
            "before": 0.5,
            "now": 0.4,
            "difference": -0.1,
            "error": 0.02,
            "paired": True,
            "allowed": "3 standard errors, 0.0600",
            "n": "1,234",
            "refused": True,
        }
    ],
    "funnel": [{"source": "crawl", "steps": [{"step": "dedup", "now": 90, "last": 100}]}],
    "overlap": {"eligible": 200, "known": 50, "share": 0.25, "repeated": 7, "by_crawl": {}},
    "languages": [{"language": "zh", "documents": 90, "share": 0.9, "last_share": 0.8}],
    "perplexity": [
        {
            "language": "zh",
            "head": 10.0,
            "middle": 20.0,
            "now": {"documents": 90, "median": 12.0, "below_head": 0.4, "below_middle": 0.9},
            "last": None,
        }
    ],
    "domains": {
        "domains": 3,
        "documents": 90,
        "largest": [],
        "last_domains": 2,
        "new": {
            "domains": 2,
            "documents": 9,
            "share": 0.1,
            "largest": [{"domain": "a.example", "documents": 8}],
        },
        "vanished": {"domains": 1, "documents": 5, "share": 0.05, "largest": []},
    },
}
"""As the stage scorecard writes it."""


def whole_run(
    folder: Path,
    *,
    right: int = 40,
    loss: float = 0.8,
    few: bool = False,
    decontaminated: tuple[str, ...] = ("exam",),
) -> dict[str, tuple[Artifact, ...]]:
    """Stage -> artifacts of a run that grew a base and trained it in two phases.

    `right`: of 100 items that the last model answers (the base: 26). `loss`: its last.
    """
    found: dict[str, tuple[Artifact, ...]] = {}

    def add(
        stage: str, name: str, statistics: dict[str, Any], of: tuple[str, ...] = (), **more: Any
    ) -> None:
        inputs = {role: given for role, given in found.items() if role in of}
        files, ledger = more.pop("files", {}), more.pop("ledger", None)
        one = made(stage, statistics, files, folder, ledger, name=name, inputs=inputs, **more)
        found[stage] = (*found.get(stage, ()), one)

    for source in SOURCES:
        pages = {"pages": MANY, "documents": MANY // 2, "payload_bytes": 90 * MANY}
        languages = [{"language": "zh", **pages, "text_bytes": 9 * MANY}]
        ledger = losing(source, MANY, {"warc.request": MANY // 4, "ingest.too_short": 1_000})
        add("ingest", source, {"page_languages": languages}, ledger=ledger)
    for source in SOURCES:
        rows = [{"language": code, "documents": MANY // n} for n, code in ((1, "zh"), (9, "en"))]
        parameters = {"model": "lid.176"}
        add("langid", source, {"languages": rows}, parameters=parameters, of=("ingest",))
    histogram = {"low": [2, 4, 8, 16, 32], "documents": [10, 400, 300, 20, 5]}
    cutoffs = [{"language": "zh", "head": 6.5, "middle": 21.5, "histogram": histogram}]
    cut = Ledger()
    for source in SOURCES:
        lose(cut, source, MANY // 2, {"quality.gopher.alphabetic_words": MANY // 8})
    told = {"cutoffs": cutoffs, "notes": []}
    keeps: dict[str, Any] = {"sources": {}}
    add("cut", "main", told, ledger=cut.to_json(), parameters=keeps, of=("langid",))
    clusters = [cluster(number, size) for number, size in enumerate(SIZES)]
    add("dedup", "main", DUPLICATES, files={"clusters.parquet": clusters}, of=("cut", "ingest"))
    for source in SOURCES:
        add("select", source, {}, of=("dedup",))
    hits = {"items": 100, "items_hit": 3, "items_unmatchable": 1, "documents_hit": MANY}
    add("decontaminate", "crawl", {"benchmarks": {"exam": hits}}, of=("ingest",))
    grown = tokenizer(folder)
    files = {"report.json": json.loads(grown.path("report.json").read_text())}
    add("tokenizer", "main", grown.statistics, files=files, of=("select",))
    operated = {
        "parameters": 1_100_048_384,
        "tokenizer_size": 32_000,
        "matrix_rows": 32_064,
        "new_tokens": 1_152,
        "embeddings": {"input": "mean"},
        "mean_row_norm": {"input": {"old": 1.25, "new": 0.75}},
        "layers_of_base": 4,
        "layers": [0, 1, 2, 3],
    }
    base = {"base": "artifact:tiny-base/training/basic@latest"}
    add("model", "main", operated, parameters=base, of=("tokenizer",))
    for category in CATEGORIES:
        bins = {"documents": MANY, "tokens": 9 * MANY, "rows": MANY // 9, "fill": 0.9981}
        bins |= {"sequence_length": 2_048, "split_documents": 12, "tokens_per_character": 0.25}
        add("binning", category, bins, of=("tokenizer", "select"))
    for number, phase in enumerate(("align", "inject")):
        rows = {category: 1_000 + 500 * n for n, category in enumerate(CATEGORIES)}
        trained = {
            "tokens": 9 * MANY,
            "steps": 1_234_567,
            "loss_first": 5.0,
            "loss_last": loss,
            "loss_of_guessing": 10.4,
            "rows": rows,
            "epochs": dict.fromkeys(CATEGORIES, 1.5),
            "loss_tokens": dict.fromkeys(CATEGORIES, 4 * MANY),
            "time": {"held_s": 7_200.0, "effective": 0.97, "restarts": 1},
            "notes": [],
        }
        records = {
            "metrics.jsonl": [metrics(step + 40 * number) for step in range(1, 41)],
            "evaluations.jsonl": [held_out(1 + 40 * number), held_out(40 + 40 * number)],
            "samples.jsonl": [continued(step + 40 * number) for step in (1, 20, 40)],
        }
        how = {"trainable": "all" if number else "embeddings", "adapter": None}
        of = ("model", "binning", "training")
        add("training", phase, trained, records=records, parameters=how, of=of)
    for number, name in enumerate(("base", "align", "inject")):
        answers = (26, 30, right)[number]
        answered = [item(place, place < answers) for place in range(100)]
        row = {"bits_per_byte": 1.5 - number / 4, "bits_per_byte_stderr": 0.01, "n": 45}
        row |= {"characters": 6_839} | ({"few": True} if few else {})
        scored = {
            "scores": {**exam(answered), "heldout/web-zh": row},
            "notes": [],
        }
        asked = {"benchmarks": {"exam": {}}, "decontaminated": list(decontaminated)}
        files = {"samples/exam.jsonl": answered}
        add("evaluation", name, scored, files=files, parameters=asked, of=("training", "select"))
    return found


def lose(ledger: Ledger, source: str, read: int, lost: dict[str, int]) -> None:
    """Add a source of which these documents are dropped."""
    kept = read - sum(lost.values())
    ledger.add(source, "zh", "read", documents=read, bytes=10 * read)
    ledger.add(source, "zh", "kept", documents=kept, bytes=10 * kept)
    for reason, count in lost.items():
        ledger.add(source, "zh", "dropped", reason, documents=count, bytes=10 * count)


def losing(source: str, read: int, lost: dict[str, int]) -> dict[str, Any]:
    """The ledger of one such source."""
    ledger = Ledger()
    lose(ledger, source, read, lost)
    return ledger.to_json()


def metrics(step: int) -> dict[str, Any]:
    """A line of metrics.jsonl."""
    drawn = {"web-zh": 3 * step, "web-en": 2 * step + step % 2}
    return {
        "step": step,
        "tokens": 1_000_000 * step,
        "loss": 5.0 / step,
        "losses": {"web-zh": 6.0 / step, "web-en": 5.0 / step},
        "lr": 1e-3 / step,
        "grad_norm": 1.0 + 1 / step,
        "drawn": drawn,
        "due": {"web-zh": 3.0 * step, "web-en": 2.2 * step},
        "tokens_per_s": 1_000.0 * step,
        "mfu": 0.4,
        "memory": {"peak_rss": 1_500_000_000, "peak_cuda": 70_000_000_000},
    }


def held_out(step: int) -> dict[str, Any]:
    """A line of evaluations.jsonl."""
    categories = {name: {"bits_per_byte": 2.0 / step**0.1} for name in CATEGORIES}
    return {"tokens": 1_000_000 * step, "categories": categories}


def continued(step: int) -> dict[str, Any]:
    """A line of samples.jsonl."""
    text = f"The capital is {SENTENCE} " + "and " * step
    return {"tokens": 1_000_000 * step, "prompt": "The capital", "greedy": text, "sampled": text}


def item(place: int, correct: bool) -> dict[str, Any]:
    """A line of a benchmark's samples: one of four answers is right."""
    group = ("law", "history_of_a_very_distant_country", "anatomy")[place % 3]
    choices = [-1.0, -2.0, -3.0, -4.0]
    return {
        "id": str(place),
        "group": group,
        "answer": 0,
        "correct": correct,
        "correct_norm": correct,
        "loglikelihoods": choices,
    }


def exam(answered: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The rows of scores that go with the samples: the task, and its groups."""
    groups = {"exam": answered}
    for one in answered:
        groups.setdefault(f"exam/{one['group']}", []).append(one)
    rows = {}
    for name, given in groups.items():
        mean = sum(one["correct"] for one in given) / len(given)
        error = (mean * (1 - mean) / (len(given) - 1)) ** 0.5
        rows[name] = {
            "acc": mean,
            "acc_stderr": error,
            "acc_norm": mean,
            "acc_norm_stderr": error,
            "n": len(given),
        }
    return rows
