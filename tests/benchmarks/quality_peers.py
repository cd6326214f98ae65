"""datatrove's quality filters; run by bench_quality.py with build/peers/bin/python.

    quality_peers.py FOLDER

FOLDER holds documents.jsonl ({"language", "text"}) and filters.json: language -> filter -> its
arguments. Writes decisions.jsonl, a line a document: filter -> why it drops the document, "" for
not. Prints the processor seconds by language of a pass in which every filter sees every document,
and of one in which, as in datatrove's pipelines, a dropped document goes no further. Needs no
package of ours.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.utils.text import split_into_parts

FILTERS = {
    "gopher.repetition": GopherRepetitionFilter,
    "gopher": GopherQualityFilter,
    "c4": C4QualityFilter,
    "fineweb": FineWebQualityFilter,
}


def main() -> None:
    """Decide about every document, then time."""
    folder = Path(sys.argv[1])
    arguments = json.loads((folder / "filters.json").read_text(encoding="utf-8"))
    filters = {
        language: {name: FILTERS[name](**given) for name, given in of_language.items()}
        for language, of_language in arguments.items()
    }
    lines = (folder / "documents.jsonl").read_text(encoding="utf-8").splitlines()
    documents = [json.loads(line) for line in lines]
    for of_language in filters.values():  # load tokenizers before the clock starts
        for filter_ in of_language.values():
            decide(filter_, "One line. Another, longer one here.")
    split_into_parts.cache_clear()
    every: Counter[str] = Counter()
    with (folder / "decisions.jsonl").open("w", encoding="utf-8") as out:
        for document in documents:
            started = time.process_time()
            decisions = {
                name: decide(filter_, document["text"])
                for name, filter_ in filters[document["language"]].items()
            }
            every[document["language"]] += time.process_time() - started
            out.write(json.dumps(decisions) + "\n")
    split_into_parts.cache_clear()
    until_dropped: Counter[str] = Counter()
    for document in documents:
        started = time.process_time()
        any(decide(filter_, document["text"]) for filter_ in filters[document["language"]].values())
        until_dropped[document["language"]] += time.process_time() - started
    print(json.dumps({"every": every, "until_dropped": until_dropped}))


def decide(filter_: Any, text: str) -> str:
    """Why the filter drops the text; "" where it passes.

    Two of its filters divide by zero where there is no word, which its pipelines take for a crash.
    """
    try:
        result = filter_.filter(Document(text, "0"))
    except ZeroDivisionError:
        return "ZeroDivisionError"
    return "" if result is True else str(result[1])


if __name__ == "__main__":
    main()
