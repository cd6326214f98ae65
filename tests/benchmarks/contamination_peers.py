"""datatrove's line deduplication and n-gram decontamination; run by bench_contamination.py with
build/peers/bin/python.

    contamination_peers.py line_dedup|decontaminate FOLDER

FOLDER holds documents.jsonl ({"text"}) and items.jsonl ({"query", "label"} of benchmark items).
Prints documents a second of processor time. Needs no package of ours.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.decont.n_grams import (
    NGramsDecontConfig,
    NGramsDecontFilter,
    NGramsDecontIndexer,
)
from datatrove.pipeline.dedup.sentence_dedup import (
    SentDedupConfig,
    SentenceDedupFilter,
    SentenceDedupSignature,
    SentenceFindDedups,
)


def main() -> None:
    """Measure what the arguments say."""
    stage, folder = sys.argv[1], Path(sys.argv[2])
    with (folder / "documents.jsonl").open(encoding="utf-8") as stream:
        documents = [
            Document(json.loads(line)["text"], str(number)) for number, line in enumerate(stream)
        ]
    print(lines(documents, folder) if stage == "line_dedup" else contamination(documents, folder))


def lines(documents: list[Document], folder: Path) -> float:
    """Its sentence deduplication over single lines: signatures, duplicates, filter."""
    config = SentDedupConfig(
        n_sentences=1,
        split_sentences=False,
        min_doc_words=0,
        min_num_sentences=0,
        only_dedup_in_index=False,
    )
    steps = [
        SentenceDedupSignature(f"{folder}/signatures", config=config),
        SentenceFindDedups(f"{folder}/signatures", f"{folder}/duplicates", config=config),
        SentenceDedupFilter(f"{folder}/duplicates", config=config),
    ]
    started = time.process_time()
    steps[0].run(iter(documents))
    steps[1].run(None)
    for _ in steps[2].run(iter(documents)):
        pass
    return len(documents) / (time.process_time() - started)


def contamination(documents: list[Document], folder: Path) -> float:
    """Its filter, with the n-grams of the items in its index (its indexer wants lighteval: written
    here).

    Its loop ends at the first hit in a document and names the benchmark alone.
    """
    config = NGramsDecontConfig(n_grams=13, find_query_ngrams=True)
    filter_ = NGramsDecontFilter(f"{folder}/index", config=config)
    hashes: set[int] = set()
    with (folder / "items.jsonl").open(encoding="utf-8") as stream:
        for line in stream:
            item = json.loads(line)
            hashes.update(NGramsDecontIndexer.compute_hashes(filter_, item["label"], item["query"]))
    (folder / "index").mkdir()
    np.array(sorted(hashes), config.hash_config.np_descr).tofile(
        folder / "index" / "all.index.hashes"
    )
    filter_.filter(documents[0])
    started = time.process_time()
    for document in documents:
        filter_.filter(document)
    return len(documents) / (time.process_time() - started)


if __name__ == "__main__":
    main()
