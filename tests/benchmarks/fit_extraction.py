"""Fits the forest by which `tasks.ingest.extract` tells main content: writes `forest.json`.

    python tests/benchmarks/fit_extraction.py [--write]      20 minutes

Pages: the half of wcxb-dev that `is_fitted` names; the other half is only scored.
A block's label is the share of its words that the page's main content has in the same order
(4-grams; a shorter block must be there whole), its weight its words over those of the page's main
content, so that every page counts the same. Beside each page as it is the forest is fitted on it

plain   without classes, ids and roles, and with <div> for <nav>, <main> and the like, as old pages
        are
wide    with its words written in Chinese characters, without spaces
tiny    pages of a few of its paragraphs in any element, with and without a line of navigation

so that it does not lean on what modern English pages happen to have. Of light blocks (short lines,
navigation) a sample is used. Without --write it only prints the scores.
"""

from __future__ import annotations

import argparse
import hashlib
import html
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from resiliparse.parse.html import HTMLTree

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tasks.ingest.extract import content, forest  # noqa: E402
from tasks.ingest.extract.features import FEATURES  # noqa: E402
from tasks.ingest.extract.head import markup_of, read_head  # noqa: E402
from tasks.ingest.page import source_of  # noqa: E402
from tests.benchmarks.bench_extraction import (  # noqa: E402
    averages,
    bag_f1,
    is_fitted,
    labelled,
)

TABLE = Path(content.__file__).with_name("forest.json")
GRAM = 4
ROWS = {"as it is": 80_000, "plain": 30_000, "wide": 30_000, "tiny": 4_000}
"""Rows fitted on, and by their number the weight, of each kind of page."""
SHARES = {"as it is": 1.0, "plain": 0.3, "wide": 0.3, "tiny": 0.15}
TREES, LEAVES, RATE = 200, 31, 0.1
_WORD = re.compile(r"\w+")


class Page(NamedTuple):
    """A page's source as serialised, what its blocks look like, their texts, labels and words."""

    about: dict[str, Any]
    gold: str
    source: str
    rows: Any
    texts: list[str]
    label: Any
    words: Any


def looked_at(source: str) -> tuple[Any, list[str]]:
    markup = markup_of(source)
    head = read_head(markup)
    found = content.cut(markup, head)
    return content.described(found, head), found.texts()


def pages() -> Iterator[Page]:
    for about, data, charset in labelled():
        gold = about["main_content"] or ""
        decoded = source_of(data, charset).replace(b"\0", b"").decode(errors="replace")
        source = str(HTMLTree.parse(decoded))
        rows, texts = looked_at(source)
        yield Page(about, gold, source, rows, texts, *label(texts, gold))


def label(texts: Sequence[str], gold: str) -> tuple[Any, Any]:
    """(share of each block's words that are in the main content, number of its words); (B,)."""
    words = [_WORD.findall(text.lower()) for text in texts]
    wanted = _WORD.findall(gold.lower())
    grams = {tuple(wanted[at : at + GRAM]) for at in range(len(wanted) - GRAM + 1)}
    left = Counter(wanted)
    share = np.zeros(len(texts))
    short: list[int] = []
    for place, block in enumerate(words):
        if len(block) >= GRAM:
            covered = np.zeros(len(block), bool)
            for at in range(len(block) - GRAM + 1):
                if tuple(block[at : at + GRAM]) in grams:
                    covered[at : at + GRAM] = True
            # a text that stands on the page more often than in the main content counts less often
            counts = Counter(block)
            there = sum(min(count, max(left[word], 0)) for word, count in counts.items())
            share[place] = min(covered.mean(), there / len(block))
            if share[place] > 0.5:
                left.subtract(block)
        elif block:
            short.append(place)
    count = np.array([len(block) for block in words], float)
    # a short text may stand in navigation too: first where it is a line of the main content and
    # the text around is in it
    lines = {" ".join(_WORD.findall(line.lower())) for line in gold.split("\n")}
    run = f" {' '.join(wanted)} "
    near = np.convolve(np.append(share * count, 0), np.ones(21))[10 : 10 + len(texts)]
    for place in sorted(short, key=lambda at: (" ".join(words[at]) not in lines, -near[at])):
        block = words[place]
        if f" {' '.join(block)} " in run and all(left[word] > 0 for word in block):
            share[place] = 1
            left.subtract(block)
    return share, count


_JUDGED = re.compile(r' (?:class|id|role)="[^"]*"')
_SEMANTIC = re.compile(r"<(/?)(?:nav|header|footer|aside|main|article|section)(?=[ >])")
_TEXT = re.compile(r'(?<=>)[^<]+|(?<= content=")[^"]+')
_RUN = re.compile(r"[A-Za-z]+(?:['’][a-z]+)?|&[a-z]+;| *[.,!?;] +|[.,!?]$| +")
_MARKS = {".": "。", ",": "，", "!": "！", "?": "？", ";": "；"}
_HAN = (
    "的一是不了人我在有他这中大来上个国到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可里后小么心多天而能好都然没日于起还发成事只作当想看文无开手用主行方"
    "又如前所本见经头面公同三已老从动两长知民样现分将外但身些与高意进把法此实回二理美点月明其种声全工己话儿者向情部正名定女问力机给等几很业最间新什打便位因重被走电四"
    "第门相次东政海口使教西再平真听世气信北少关并内加化由却代军产入先山五太水万市眼体别处总才场师书比住员九笑性通目华报立马命张活难神数件安表原车白应路期叫死常提感金"
    "何更反合放做系计或司利受光王果亲界及今京务制解各任至清物台象记边共风战干接它许八特觉望直服毛林题建南度统色字请交爱让认算论百吃义科怎元社术结六功指思非流每青管夫"
    "连远资队跟带花快条院变联言权往展该领传近留红治决周保达办运武半候七必城父强步完革深区即求品士转量空甚众技轻程告江语英基派满式李息写呢识极令黄德收脸钱党倒未持取设"
    "始版双历越史商千片容研像找友孩站广改议形委早房音火际则首单据导影失拿网香似斯专石若兵弟谁校读志飞观争究包组造落视济喜离虽坏兴切久"
)


def plain(source: str) -> str:
    """A page without what its designer calls its parts."""
    return _SEMANTIC.sub(r"<\1div", _JUDGED.sub("", source))


def wide(source: str) -> str:
    """A page whose words are written in Chinese characters, the same word the same."""
    return _TEXT.sub(lambda found: _RUN.sub(_written_wide, found[0]), source)


def _written_wide(found: re.Match[str]) -> str:
    run = found[0]
    if run[0] == "&":
        return run
    if not run[0].isalpha():
        return _MARKS.get(run.strip(), "")
    value = int.from_bytes(hashlib.blake2b(run.lower().encode(), digest_size=8).digest(), "big")
    size = max(1, round(len(run) / 2.6))
    return "".join(_HAN[(value >> 9 * at) % len(_HAN)] for at in range(min(size, 7)))


_ELEMENTS = (
    "p",
    "p",
    "p",
    "div",
    "li",
    "td",
    "dd",
    "blockquote",
    "th",
    "h2",
    "pre",
    "caption",
    "summary",
)
_AROUND = {"li": "ul", "td": "table", "th": "table", "dd": "dl", "caption": "table"}
_NOISE = (
    '<div><a class="share" href="/s">Share</a></div>',
    '<p><a href="/">Home</a> &gt; <a href="/n">News</a></p>',
    "<p>By A. Writer</p>",
    "<div><button>Send <b>it</b></button></div>",
    "<div><label>Name</label></div>",
    '<ul><li><a rel="next" href="/2">Next</a> <a rel="prev" href="/0">Back</a></li></ul>',
    "<footer><p>© 2024 Example</p></footer>",
    '<ul><li><a href="/a">About</a></li><li><a href="/c">Contact</a></li></ul>',
    '<h2>Read more</h2><p><a href="/1">What else happened in the town on that day and the days '
    "after it</a></p>",
    "<p>Share this</p>",
)


def tiny(page: Page, rng: random.Random) -> tuple[str, list[bool]] | None:
    """A small page of some of its paragraphs, and for every block whether it is one of them."""
    paragraphs = [
        " ".join(text.split())
        for text, share in zip(page.texts, page.label, strict=True)
        if share > 0.9 and len(text) > 60
    ]
    if not paragraphs:
        return None
    parts: list[str] = []
    kept: list[bool] = []
    noise = rng.random() < 0.5
    if rng.random() < 0.4:
        parts.append("<h1>A title of the page</h1>")
        kept.append(True)
    for _ in range(rng.choice((1, 1, 2, 2, 3, 5))):
        name = rng.choice(_ELEMENTS)
        around = _AROUND.get(name)
        text = rng.choice(paragraphs)[: rng.choice((100, 300, 2_000))]
        element = f"<{name}>{html.escape(text)}</{name}>"
        parts.append(f"<{around}>{element}</{around}>" if around else element)
        kept.append(True)
        if noise and rng.random() < 0.5:
            parts.append(rng.choice(_NOISE))
            kept += [False] * (2 if "Read more" in parts[-1] or "About" in parts[-1] else 1)
    body = "".join(parts)
    for name in rng.choice(((), ("div",), ("main",), ("article", "div"), ("main", "div", "div"))):
        body = f"<{name}>{body}</{name}>"
    source = str(HTMLTree.parse(f"<html><head><title>t</title></head><body>{body}</body></html>"))
    return source, kept


def examples(training: Sequence[Page]) -> dict[str, tuple[Any, Any, Any]]:
    """By kind of page: rows (N, F), labels (N,) and weights (N,)."""
    rng = random.Random(1)
    found: dict[str, list[tuple[Any, Any, Any]]] = defaultdict(list)
    for page in training:
        if not len(page.texts):
            continue
        weight = page.words / max(50, (page.words * page.label).sum())
        found["as it is"].append((page.rows, page.label, weight))
        for kind, change in (("plain", plain), ("wide", wide)):
            rows, texts = looked_at(change(page.source))
            if len(texts) == len(page.texts):
                found[kind].append((rows, page.label, weight))
        if made := tiny(page, rng):
            source, kept = made
            if rng.random() < 0.5:
                source = wide(source)
            rows, texts = looked_at(source)
            if len(texts) == len(kept):
                size = np.array([max(len(text.split()), len(text) / 10, 4) for text in texts])
                found["tiny"].append((rows, np.array(kept, float), size / size.sum()))
    return {
        kind: tuple(np.concatenate([part[at] for part in parts]) for at in range(3))  # type: ignore[misc]
        for kind, parts in found.items()
    }


def sampled(rows: Any, labels: Any, weights: Any, count: int, share: float) -> Any:
    """About `count` rows, heavy ones all, of light ones a sample that stands for the others."""
    low, high = 0.0, float(weights.max())
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if np.minimum(weights / middle, 1).sum() > count else (low, middle)
        )
    chance = np.minimum(weights / high, 1)
    keep = np.random.default_rng(1).random(len(weights)) < chance
    kept = weights[keep] / chance[keep]
    return rows[keep], labels[keep], kept * share / kept.sum()


def fit(found: dict[str, tuple[Any, Any, Any]]) -> dict[str, Any]:
    """The table of the forest."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    parts = [sampled(*found[kind], ROWS[kind], SHARES[kind]) for kind in found]
    rows, labels, weights = (np.concatenate([part[at] for part in parts]) for at in range(3))
    weights = weights * len(weights) / weights.sum()
    # a share of words is two rows, of either class
    inside, outside = labels > 0, labels < 1
    model = HistGradientBoostingClassifier(
        max_iter=TREES,
        max_leaf_nodes=LEAVES,
        learning_rate=RATE,
        min_samples_leaf=20,
        l2_regularization=1.0,
        max_features=0.4,
        max_bins=63,
        early_stopping=False,
        random_state=1,
    ).fit(
        np.concatenate((rows[inside], rows[outside])),
        np.concatenate((np.ones(inside.sum()), np.zeros(outside.sum()))),
        np.concatenate(((weights * labels)[inside], (weights * (1 - labels))[outside])),
    )
    return table(model)


def table(model: Any) -> dict[str, Any]:
    """As `tasks.ingest.extract.forest` reads it; the prior is a tree of one leaf."""
    used: dict[int, int] = {}
    out: dict[str, list[Any]] = {"feature": [-1], "threshold": [], "right": [0]}
    out["threshold"].append(round(float(model._baseline_prediction.item()), 4))
    roots = [0]

    def add(nodes: Any, at: int) -> None:
        node, place = nodes[at], len(out["feature"])
        is_leaf = bool(node["is_leaf"])
        column = -1 if is_leaf else used.setdefault(int(node["feature_idx"]), len(used))
        value = node["value"] if is_leaf else node["num_threshold"]
        out["feature"].append(column)
        out["threshold"].append(float(f"{value:.5g}"))
        out["right"].append(0)
        if not is_leaf:
            add(nodes, node["left"])
            out["right"][place] = len(out["feature"])
            add(nodes, node["right"])

    for (tree,) in model._predictors:
        roots.append(len(out["feature"]))
        add(tree.nodes, 0)
    return {"features": [FEATURES[at] for at in used], "roots": roots, **out}


def scores(trees: forest.Forest, judged: Sequence[Page]) -> str:
    scored = []
    for page in judged:
        odds = np.zeros(len(page.texts), np.float32)
        forest.log_odds(*trees, page.rows, odds)
        words = np.maximum(page.words, 0.1).astype(np.float32)
        keep = content.chosen(1 / (1 + np.exp(-odds)), words)
        text = "\n".join(text for text, kept in zip(page.texts, keep, strict=True) if kept)
        scored.append((page.about, bag_f1(text, page.gold)))
    return averages(scored)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="write forest.json")
    arguments = parser.parse_args()
    every = list(pages())
    training = [page for page in every if is_fitted(page.about["url"])]
    unseen = [page for page in every if not is_fitted(page.about["url"])]
    print(f"{len(training)} pages to fit on, {len(unseen)} unseen", flush=True)
    began = time.time()
    fitted = fit(examples(training))
    print(f"fitted in {time.time() - began:.0f} s", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = TABLE if arguments.write else Path(folder, TABLE.name)
        path.write_text(json.dumps(fitted, separators=(",", ":")) + "\n")
        trees = forest.load(path, FEATURES)
    print("even", scores(trees, training))
    print("odd ", scores(trees, unseen))


if __name__ == "__main__":
    main()
