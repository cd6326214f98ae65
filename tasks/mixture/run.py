"""Run stage mixture: read the proxies, search, and write the proposal with what it was found by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from infra.context import Context
from infra.stage import Outcome, StageError
from infra.store import Artifact, Shard
from tasks.benchmarks.samples import SAMPLES
from tasks.documents.bins import category_of
from tasks.documents.proposals import PROPOSAL, proposed_shares
from tasks.mixture.answers import answer_texts, bits_per_byte
from tasks.mixture.proxies import Proxy, columns, read_proxies, texts
from tasks.mixture.search import Work
from tasks.mixture.stage import MixtureParameters

FIT = "fit.json"
TABLE = "proxies.parquet"
HELD_OUT = "heldout"
"""Rows of an evaluation that are held-out text: `heldout/<category>`."""


def run(context: Context) -> Outcome:
    """Propose shares.

    Inputs: `proxies` and `scores`, the training and evaluation of each; `bins`, whose rows give
    natural shares and epochs; `heldout`, the text that was scored; `given`, an earlier mixture
    whose ratios stay and whose proxies are fitted too. Data: `shares.json`, `fit.json`,
    `proxies.parquet`.
    """
    work = _work(context, context.parameters)
    found = context.map(_search, {"search": work})["search"]
    return Outcome(
        {
            "headline": headline(found),
            **{key: found[key] for key in ("shares", "predicted", "law", "errors", "notes", "at")},
            "proxy_seconds": sum(
                artifact.manifest.seconds
                for artifact in (*context.many("proxies"), *context.many("scores"))
            ),
            "proxies": len(found["proxies"]),
            "left_out": sum(bool(proxy["left_out"]) for proxy in found["proxies"]),
        }
    )


def headline(found: Mapping[str, Any]) -> str:
    """The proposal in a line."""
    shares = ", ".join(f"{category} {share:.3g}" for category, share in found["shares"].items())
    left_out = sum(bool(proxy["left_out"]) for proxy in found["proxies"])
    rest = f", {left_out} left out" if left_out else ""
    return (
        f"{shares}; law {found['law']}, error {found['errors'][found['law']]:.2%} on left-out "
        f"proxies ({len(found['proxies']) - left_out} fitted{rest})"
    )


def _work(context: Context, parameters: MixtureParameters) -> Work:
    bins, given = context.many("bins"), context.optional("given")
    rows = {category_of(artifact.name): _rows(artifact) for artifact in bins}
    length = {int(artifact.statistics["sequence_length"]) for artifact in bins}
    held_out = texts(context.many("heldout")) | _asked(context, parameters)
    targets = {name: held_out.get(name, name) for name in parameters.targets}
    scored = {
        name if name in parameters.benchmarks else f"{HELD_OUT}/{name}": target
        for name, target in targets.items()
    }
    proxies = read_proxies(context.many("proxies"), _scores(context, parameters), scored)
    total = sum(rows[category] for category in parameters.categories)
    kept: dict[str, float] = {}
    if given is not None:
        kept = _kept(given, parameters)
        proxies += _earlier(given, set(targets.values()))
    budget = parameters.tokens
    return Work(
        proxies=tuple(proxies),
        columns={c: columns(bins)[c] for c in parameters.categories},
        targets={targets[name]: weight for name, weight in parameters.targets.items()},
        natural={c: rows[c] / total for c in parameters.categories},
        stated={c: (share.min, share.max) for c, share in parameters.shares.items()},
        epochs={
            category: parameters.max_epochs[category] * rows[category] * max(length) / budget
            for category in parameters.categories
            if budget and category in parameters.max_epochs
        },
        kept=kept,
        tokens=budget,
        parameters=parameters.parameters,
        law=parameters.law,
        level=parameters.level,
        resamples=parameters.resamples,
    )


def _asked(context: Context, parameters: MixtureParameters) -> dict[str, str]:
    """Benchmark -> its target: the benchmark, and a digest of its files."""
    found = {}
    for name in parameters.benchmarks:
        pins = context.pins.get(f"benchmarks.{name}.paths", ())
        digest = hashlib.sha256("".join(pin.identity for pin in pins).encode()).hexdigest()
        found[name] = f"{name}@{digest[:12]}"
    return found


def _scores(context: Context, parameters: MixtureParameters) -> dict[str, dict[str, Any]]:
    """Proxy -> row of its evaluation -> values, with the bits per byte of right answers."""
    texts_of = {
        name: answer_texts(
            name,
            benchmark,
            context.files(f"benchmarks.{name}.paths"),
            context.files(f"benchmarks.{name}.dev"),
        )
        for name, benchmark in parameters.benchmarks.items()
    }
    scores: dict[str, dict[str, Any]] = {}
    for artifact in context.many("scores"):
        rows = dict(artifact.statistics["scores"])
        for name, found in texts_of.items():
            with artifact.path(f"{SAMPLES}{name}.jsonl").open(encoding="utf-8") as lines:
                rows[name] = {"bits_per_byte": bits_per_byte(name, lines, found)}
        scores[artifact.name] = rows
    return scores


def _rows(bins: Artifact) -> int:
    return sum(int(one["rows"]) for one in bins.statistics["bins"])


def _kept(given: Artifact, parameters: MixtureParameters) -> dict[str, float]:
    """The shares of an earlier mixture whose ratios stay: of all but the searched categories.

    Raises:
        StageError: it has a category that this one lacks, or has nothing left.
    """
    shares = {c: s for c, s in proposed_shares(given).items() if c not in parameters.search}
    if unknown := sorted(c for c, s in shares.items() if s and c not in parameters.categories):
        raise StageError(
            f"given: {given.identity} has a share of {unknown[0]!r}, which is not among "
            f"`categories` ({', '.join(parameters.categories)}); add it there"
        )
    lost = [c for c in parameters.categories if c not in shares and c not in parameters.search]
    if lost or not sum(shares.values()):
        what = f"no share of {lost[0]!r}" if lost else "nothing beside what is searched"
        raise StageError(f"given: {given.identity} has {what}; name it in `search`")
    return {c: shares[c] for c in parameters.categories if c in shares}


def _earlier(given: Artifact, targets: set[str]) -> list[Proxy]:
    """The proxies of an earlier mixture, with their losses of the same text."""
    found = json.loads(given.path(FIT).read_text(encoding="utf-8"))["proxies"]
    proxies = []
    for told in found:
        one = {key: value for key, value in told.items() if key != "predicted"}
        losses = {target: loss for target, loss in one["losses"].items() if target in targets}
        if losses and not one["left_out"]:
            proxies.append(Proxy.from_json({**one, "losses": losses}))
    return proxies


def _search(work: Work, shard: Shard) -> dict[str, Any]:
    from tasks.mixture.search import search

    found = search(work)
    for name, content in ((PROPOSAL, {"shares": found["shares"]}), (FIT, found)):
        with shard.create(name) as path:
            path.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    with shard.create(TABLE) as path:
        _write_table(found["proxies"], str(path))
    return found


def _write_table(proxies: Sequence[Mapping[str, Any]], path: str) -> None:
    """A row for each value of each proxy: `kind` share, epochs, loss, or predicted (by the fit
    without it)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"share": "shares", "epochs": "epochs", "loss": "losses", "predicted": "predicted"}
    rows = [
        (p["name"], p["parameters"], p["tokens"], kind, name, float(value), p["left_out"])
        for p in proxies
        for kind, key in kinds.items()
        for name, value in p[key].items()
    ]
    names = ("proxy", "parameters", "tokens", "kind", "name", "value", "left_out")
    types = (
        pa.string(),
        pa.int64(),
        pa.int64(),
        pa.string(),
        pa.string(),
        pa.float64(),
        pa.string(),
    )
    schema = pa.schema(list(zip(names, types, strict=True)))
    by_column = {name: [row[n] for row in rows] for n, name in enumerate(names)}
    pq.write_table(pa.table(by_column, schema=schema), path)
