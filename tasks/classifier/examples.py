"""Documents to learn from: read, joined with what is known of them, grouped and divided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from infra.context import Context
from infra.ledger import UNDETERMINED
from infra.stage import StageError
from tasks.classifier.groups import near_duplicates, side
from tasks.classifier.stage import ClassifierParameters
from tasks.documents.sampling import (
    SampleWork,
    Wanted,
    edited_and_identified,
    limits,
    read_sample,
    sample_parts,
    smallest,
    write_sample,
)
from tasks.documents.vectors import COLUMN

LABELS_FILE = "labels.parquet"
"""Of stage labels: columns `id`, `source`, `score` (null: none could be read)."""

LANGUAGE_SHARE = 0.02


@dataclass(frozen=True)
class Examples:
    """N documents. `labels_N`: a rubric's scores, NaN without; `held_N`: not to be trained on;
    `groups_N`: of near duplicates; `unit_N`: the hash in [0, 1) that held them out.
    """

    table: pa.Table
    labels_N: npt.NDArray[np.float64]
    good_N: npt.NDArray[np.bool_]
    groups_N: npt.NDArray[np.int64]
    unit_N: npt.NDArray[np.float64]
    held_N: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def texts(self, rows: npt.NDArray[np.bool_]) -> list[str]:
        """Texts of some rows."""
        found: list[str] = self.table["text"].filter(pa.array(rows)).to_pylist()
        return found

    def counts(self) -> dict[str, dict[str, int]]:
        """Side -> kind -> documents."""
        return {
            name: {
                "good": int(np.count_nonzero(self.good_N & rows)),
                "other": int(np.count_nonzero(~self.good_N & rows)),
            }
            for name, rows in (("training", ~self.held_N), ("held_out", self.held_N))
        }


def sample_files(context: Context) -> tuple[Path, ...]:
    """Write the documents to learn from; the files that hold them."""
    parameters: ClassifierParameters = context.parameters
    labels = context.optional("labels")
    known = None if labels is None else labelled(labels.path(LABELS_FILE))
    columns = edited_and_identified(context.many("langid"), context.many("line_dedup"))
    vectors = COLUMN if parameters.kind == "linear" else ""
    if vectors:
        columns["embeddings"] = (context.many("embeddings"), (vectors,))
    work = {}
    for key, part in sample_parts(context.many("documents"), columns).items():
        if known is not None:
            wanted = Wanted(ids=frozenset(id_ for source, id_ in known if source == part.source))
        else:
            wanted = Wanted(parameters.sample, parameters.seed, parameters.languages)
        work[f"smallest.{key}"] = SampleWork(
            part, wanted, parameters.max_characters, vectors=vectors
        )
    if known is None:
        largest = limits(context.map(smallest, work), work)
        work = {
            key: replace(one, limit=largest[one.part.source])
            for key, one in work.items()
            if one.part.source in largest
        }
    written = context.map(
        write_sample, {key.replace("smallest", "sample", 1): one for key, one in work.items()}
    )
    names = [result["file"] for result in written.values() if result["file"]]
    return tuple(context.attempt.data.local(name) for name in names)


def labelled(file: Path) -> dict[tuple[str, str], float]:
    """(source, id) -> a rubric's score, of documents that have one."""
    table = pq.read_table(file, columns=["source", "id", "score"])
    return {
        (row["source"], row["id"]): row["score"]
        for row in table.to_pylist()
        if row["score"] is not None
    }


def assemble(
    name: str, parameters: ClassifierParameters, files: Iterable[Path], labels: Path | None
) -> Examples:
    """Read the sample, join it with what is known of it, group and divide it. Raises StageError
    where there is nothing to learn.
    """
    table = read_sample(files)
    if parameters.languages is not None:
        keep = [code in (*parameters.languages, UNDETERMINED) for code in _languages(table)]
        table = table.filter(pa.array(keep, pa.bool_()))
    ids, sources = table["id"].to_pylist(), table["source"].to_pylist()
    if labels is not None:
        known = labelled(labels)
        scores = np.array([known[key] for key in zip(sources, ids, strict=True)], np.float64)
        good = scores >= parameters.threshold
    else:
        scores = np.full(len(ids), np.nan)
        good = np.array([source in parameters.good for source in sources], np.bool_)
    groups = near_duplicates(table["text"].to_pylist())
    unit = side(ids, groups, parameters.seed)
    examples = Examples(table, scores, good, groups, unit, unit < parameters.heldout)
    _refuse_too_few(name, parameters, examples)
    return examples


def learned_languages(parameters: ClassifierParameters, table: pa.Table) -> tuple[str, ...] | None:
    """The languages that a classifier scores: those stated, or that it has seen enough of; None
    (all) where nothing is known of languages.
    """
    if parameters.languages is not None:
        return parameters.languages
    counts = Counter(_languages(table))
    if set(counts) <= {UNDETERMINED}:
        return None
    least = LANGUAGE_SHARE * counts.total()
    return tuple(sorted(code for code, count in counts.items() if count >= least))


def _languages(table: pa.Table) -> list[str]:
    found: list[str] = table["language"].to_pylist()
    return found


def _refuse_too_few(name: str, parameters: ClassifierParameters, examples: Examples) -> None:
    counts = examples.counts()
    by_label = Counter(examples.labels_N[~np.isnan(examples.labels_N)].tolist())
    shown = ", ".join(f"{score:g}: {by_label[score]:,}" for score in sorted(by_label))
    for kind, word in (("good", "good"), ("other", "other")):
        training, held = counts["training"][kind], counts["held_out"][kind]
        if training >= parameters.minimum and held:
            continue
        if shown:
            advice = (
                f"the scores are {shown}, and documents from {parameters.threshold:g} on are good; "
                "set another threshold, or label more documents"
            )
        else:
            sources = parameters.good if kind == "good" else parameters.bad
            advice = f"name more or larger sources than {', '.join(sources) or 'none'}"
        raise StageError(
            f"classifier/{name}: {training:,} {word} documents to train on and {held:,} to measure "
            f"on; it needs at least {parameters.minimum:,} and 1 (classifiers.{name}.minimum): "
            f"{advice}"
        )


def disagreements(
    examples: Examples, scores_N: npt.NDArray[np.float64], rows: npt.NDArray[np.bool_], shown: int
) -> dict[str, list[dict[str, Any]]]:
    """Held-out documents that the classifier judges most unlike what they are known to be:
    `missed` are good and have the lowest scores, `mistaken` are not and have the highest.
    """
    found = {}
    for name, kind, sign in (("missed", examples.good_N, 1), ("mistaken", ~examples.good_N, -1)):
        places = np.flatnonzero(kind & rows)
        order = places[np.argsort(sign * scores_N[places], kind="stable")][:shown]
        picked = examples.table.take(pa.array(order)).to_pylist()
        found[name] = [
            {
                "id": row["id"],
                "source": row["source"],
                "url": row["url"],
                "label": None if np.isnan(examples.labels_N[place]) else examples.labels_N[place],
                "score": round(float(scores_N[place]), 4),
                "text": " ".join(row["text"][:EXCERPT].split()),
            }
            for place, row in zip(order.tolist(), picked, strict=True)
        ]
    return found


EXCERPT = 400
"""Characters of a disagreement that are shown."""
