"""Planted paraphrases in real English web text: precision and recall by threshold, and what is
near without having been planted.

    python tests/benchmarks/semantic_paraphrases.py [--alarms 20] [--documents 10000]
                                          [--planted 100] [--characters 1500] [--without-minilm]

Documents: C4's sample (300 pages), of 100 of which each kind of paraphrase is planted, and passages
of about 1,500 characters of FineWeb's sample, neighbours of which are often of one page. Vectors of
all-MiniLM-L6-v2; of its input embeddings, as if it were a base (SIF sums, docs/semantic.md); of
stories260K, a real Llama of 260 thousand parameters whose tokens are letters and syllables; and
random ones. MinHash: the exact Jaccard similarity of sets of 5 words, so what signatures find at
best. MiniLM knows English alone: translations are not among the kinds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tasks.documents.vectors import from_column  # noqa: E402
from tasks.embeddings.stage import STAGE as EMBEDDINGS  # noqa: E402
from tasks.embeddings.stage import EmbeddingsParameters  # noqa: E402
from tasks.neighbours.clusters import nearest, train  # noqa: E402
from tasks.token_vectors.stage import STAGE as TOKEN_VECTORS  # noqa: E402
from tasks.token_vectors.stage import TokenVectorsParameters  # noqa: E402
from tests.benchmarks.paraphrases import KINDS  # noqa: E402
from tests.minilm import find_minilm  # noqa: E402
from tests.stage_harness import run_stage  # noqa: E402
from tests.tables import documents  # noqa: E402

THRESHOLDS = (0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.97)


def real_texts(data: Path, longest: int) -> list[str]:
    """C4's pages, then passages of FineWeb, of so many characters at most."""
    lines = (data / "web_en/llamafactory/c4_demo.jsonl").read_text().splitlines()
    texts = [json.loads(line)["text"][:longest] for line in lines]
    passage = ""
    for line in (data / "web_en/fineweb-sample/fineweb_sample.txt").read_text().splitlines():
        passage = f"{passage}\n{line}".strip()
        if len(passage) >= longest:
            texts.append(passage[:longest])
            passage = ""
    return texts


def shingles(text: str) -> set[tuple[str, ...]]:
    """Sets of five words, as dedup compares them."""
    words = re.sub(r"[^\w\s]", " ", text.lower()).split()
    return {tuple(words[at : at + 5]) for at in range(max(len(words) - 4, 1))}


def alike(one: set[Any], other: set[Any]) -> float:
    """Jaccard similarity."""
    return len(one & other) / len(one | other)


def embedded(folder: Path, texts: list[str], real: int, model: Path, *, base: bool) -> Any:
    """Unit vectors of texts, by the stages. Tokens are counted in the `real` first ones."""
    given = documents(folder, "web", [texts])
    inputs: dict[str, Any] = {"documents": given}
    parameters = EmbeddingsParameters(model=None if base else str(model))
    if base:
        counted = documents(folder / "real", "web", [texts[:real]])
        stated = TokenVectorsParameters(model=str(model))
        inputs["tokens"] = run_stage(
            TOKEN_VECTORS, stated, {"documents": [counted]}, tmp_path=folder
        )
    made = run_stage(EMBEDDINGS, parameters, inputs, "web", tmp_path=folder)
    vectors, known = from_column(pq.read_table(made.path("part-00000.parquet"))["vector"])
    assert known.all()
    found = vectors.astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def found_by_clusters(
    vectors: Any, one: Any, other: Any, cosines: Any, probes: int
) -> list[tuple[float, float]]:
    """Threshold -> share of the pairs above it of which one probes the other's cluster."""
    clusters = int(np.ceil(len(vectors) ** 0.5))
    order = np.random.default_rng(3).permutation(len(vectors))
    probed = nearest(vectors, train(vectors[order], clusters), probes)
    own = probed[:, :1]
    found = []
    for threshold in (0.7, 0.8, 0.9):
        near = np.flatnonzero(cosines >= threshold)
        i, j = one[near], other[near]
        met = (probed[i] == own[j]).any(axis=1) | (probed[j] == own[i]).any(axis=1)
        found.append((threshold, float(met.mean())))
    return found


def main() -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--alarms", type=int, default=20)
    parser.add_argument("--without-minilm", action="store_true", help="its sums alone, in seconds")
    parser.add_argument("--documents", type=int, default=10_000, help="evenly, of all there are")
    parser.add_argument("--planted", type=int, default=100, help="documents that are paraphrased")
    parser.add_argument("--characters", type=int, default=1_500, help="of a document, at most")
    arguments = parser.parse_args()
    shown = arguments.alarms
    data = Path(os.environ.get("PUNA_REAL_DATA", ROOT.parent / "shared/data"))
    planted_in = arguments.planted
    pages = real_texts(data, arguments.characters)
    texts = pages[:: max(len(pages) // arguments.documents, 1)][: arguments.documents]
    real, rng = len(texts), random.Random(1)
    family = list(range(real))
    kind_of = [""] * real
    for kind, change in KINDS.items():
        for number in range(planted_in):
            texts.append(change(texts[number], rng))
            family.append(number)
            kind_of.append(kind)
    print(f"{real:,} documents and {len(texts) - real} paraphrases")
    one, other = np.triu_indices(len(texts), 1)
    planted = np.array(family)[one] == np.array(family)[other]
    originals = (one < planted_in) & planted & (other >= real)
    sets = [shingles(text) for text in texts]
    pairs = np.flatnonzero(originals)
    jaccard = np.array(
        [alike(sets[i], sets[j]) for i, j in zip(one[pairs], other[pairs], strict=True)]
    )
    kinds = np.array(kind_of)[other[pairs]]
    print("\nrecall of originals' paraphrases by exact Jaccard of 5 words (dedup.verify)")
    for kind in KINDS:
        mine = jaccard[kinds == kind]
        above = ", ".join(f"from {limit}: {(mine >= limit).mean():.2f}" for limit in (0.8, 0.5))
        print(f"  {kind:22s} median {np.median(mine):.2f}; {above}")
    models = {
        "MiniLM": (None if arguments.without_minilm else find_minilm(), False),
        "MiniLM's input embeddings": (find_minilm(), True),
        "stories260K's input embeddings": (data / "model/stories260K", True),
        "random": (None, True),
    }
    for name, (model, base) in models.items():
        with tempfile.TemporaryDirectory() as folder:
            if name == "random":
                vectors = (
                    np.random.default_rng(0).standard_normal((len(texts), 384)).astype(np.float32)
                )
                vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            elif model is None or not model.exists():
                print(f"\n{name}: not here")
                continue
            else:
                vectors = embedded(Path(folder), texts, real, model, base=base)
        cosines = (vectors @ vectors.T)[one, other]
        among = (other < real) & (one < real)
        spread = np.percentile(cosines[among], [50, 99, 99.9])
        print(
            f"\n{name}: cosine of two different documents, 50 / 99 / 99.9 %: "
            + " / ".join(f"{value:.2f}" for value in spread)
        )
        names = "  ".join(f"{kind:>20s}" for kind in KINDS)
        print(f"  from   precision  recall  {names}  alarms among real documents")
        for threshold in THRESHOLDS:
            near = cosines >= threshold
            hit = near[pairs]
            by_kind = "  ".join(f"{hit[kinds == kind].mean():20.2f}" for kind in KINDS)
            right = (near & planted).sum() / max(near.sum(), 1)
            alarms = (near & among).sum()
            print(f"  {threshold:.2f}  {right:9.3f}  {hit.mean():6.2f}  {by_kind}  {alarms:6d}")
        if name == "random":
            continue
        print("  share of all near pairs that clusters find, as many as the root of the documents")
        for probes in (1, 2, 3, 5):
            shares = found_by_clusters(vectors, one, other, cosines, probes)
            print(f"    {probes} probes: " + ", ".join(f"from {t}: {s:.3f}" for t, s in shares))
        order = np.argsort(-np.where(among, cosines, -1))[:shown]
        print(f"  the {shown} nearest pairs of different documents:")
        for index in order:
            i, j = int(one[index]), int(other[index])
            begins = " || ".join(f"[{row}] {' '.join(texts[row][:110].split())}" for row in (i, j))
            print(f"    {cosines[index]:.3f} J={alike(sets[i], sets[j]):.2f} {begins}")


if __name__ == "__main__":
    main()
