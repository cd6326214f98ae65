"""trafilatura on decoded pages; run by bench_extraction.py with build/peers/bin/python.

    extraction_peers.py PAGES TEXTS

PAGES: one JSON string a line. TEXTS: one JSON list a line, of the text and the seconds of processor
time. Needs no package of ours.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from trafilatura import extract


def main() -> None:
    """Measure what the arguments say."""
    pages, texts = map(Path, sys.argv[1:3])
    with pages.open(encoding="utf-8") as lines, texts.open("w", encoding="utf-8") as out:
        for line in lines:
            page = json.loads(line)
            began = time.process_time()
            text = extract(page, include_comments=False) or ""
            out.write(json.dumps([text, time.process_time() - began]) + "\n")


if __name__ == "__main__":
    main()
