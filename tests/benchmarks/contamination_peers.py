"""datatrove's line deduplication and n-gram decontamination; run by bench_contamination.py with build/peers/bin/python.

    contamination_peers.py FILE ITEMS WORK DOCUMENTS

FILE: documents, ITEMS: {"query", "label"} of benchmark items, both JSONL. Prints one JSON object: documents a second of
processor time. Needs no package of ours.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter, NGramsDecontIndexer
from datatrove.pipeline.dedup.sentence_dedup import (
    SentDedupConfig,
    SentenceDedupFilter,
    SentenceDedupSignature,
    SentenceFindDedups,
)


def main() -> None:
    """Measure both."""
    file, items, work, count = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    with file.open(encoding="utf-8") as stream:
        documents = [Document(json.loads(line)["text"], str(n)) for n, line in enumerate(islice(stream, count))]
    print(json.dumps({"line_dedup": lines(documents, work), "decontaminate": contamination(documents, items, work)}))


def lines(documents: list[Document], work: str) -> float:
    """Its sentence deduplication over single lines: signatures, duplicates, filter."""
    config = SentDedupConfig(
        n_sentences=1, split_sentences=False, min_doc_words=0, min_num_sentences=0, only_dedup_in_index=False
    )
    steps = [
        SentenceDedupSignature(f"{work}/signatures", config=config),
        SentenceFindDedups(f"{work}/signatures", f"{work}/duplicates", config=config),
        SentenceDedupFilter(f"{work}/duplicates", config=config),
    ]
    started = time.process_time()
    steps[0].run(iter(documents))
    steps[1].run(None)
    for _ in steps[2].run(iter(documents)):
        pass
    return len(documents) / (time.process_time() - started)


def contamination(documents: list[Document], items: Path, work: str) -> float:
    """Its filter, with the n-grams of the items in its index (its indexer wants lighteval: written here).

    Its loop ends at the first hit in a document and names the benchmark alone.
    """
    config = NGramsDecontConfig(n_grams=13, find_query_ngrams=True)
    filter_ = NGramsDecontFilter(f"{work}/index", config=config)
    hashes: set[int] = set()
    with items.open(encoding="utf-8") as stream:
        for line in stream:
            item = json.loads(line)
            hashes.update(NGramsDecontIndexer.compute_hashes(filter_, item["label"], item["query"]))
    Path(work, "index").mkdir()
    np.array(sorted(hashes), config.hash_config.np_descr).tofile(Path(work, "index", "all.index.hashes"))
    filter_.filter(documents[0])
    started = time.process_time()
    for document in documents:
        filter_.filter(document)
    return len(documents) / (time.process_time() - started)


if __name__ == "__main__":
    main()
