"""Real archives: our pages beside FastWARC's and warcio's, and what became of every other record.

    python tests/benchmarks/archives.py

The table of Show 4: one line an archive under `warc/` of PUNA_REAL_DATA or ../shared/data. warcio
is asked where `make peers` has installed it. An exclamation mark is a difference to FastWARC that
nothing explains; warcio's own failures are named.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.tasks.ingest.archive_pages import (  # noqa: E402
    EXPLAINED,
    PAGE_TYPES,
    archives,
    fastwarc_pages,
    outcomes,
)

DATA = Path(os.environ.get("PUNA_REAL_DATA", ROOT.parent / "shared" / "data"))
PEERS = ROOT / "build" / "peers" / "bin" / "python"

_WARCIO = """
import json, sys
from warcio.archiveiterator import ArchiveIterator
types, found = json.loads(sys.argv[1]), {}
for path in json.load(sys.stdin):
    pages, error = 0, ""
    try:
        with open(path, "rb") as stream:
            for record in ArchiveIterator(stream):
                http = record.http_headers
                if record.rec_type == "conversion" and ".wet" in path:
                    pages += 1
                elif record.rec_type == "response" and http is not None:
                    declared = (http.get_header("content-type") or "").partition(";")[0]
                    is_type = declared.strip().lower() in types
                    pages += http.get_statuscode() == "200" and is_type
    except Exception as failure:
        error = type(failure).__name__
    found[path] = [pages, error]
print(json.dumps(found))
"""


def warcio_pages(paths: list[Path]) -> dict[str, tuple[int, str]]:
    """Path -> (pages, the exception that ended reading)."""
    if not PEERS.exists():
        return {}
    ran = subprocess.run(
        [PEERS, "-c", _WARCIO, json.dumps(PAGE_TYPES)],
        input=json.dumps([str(path) for path in paths]),
        capture_output=True,
        text=True,
        check=True,
    )
    return {path: (pages, error) for path, (pages, error) in json.loads(ran.stdout).items()}


def main() -> None:
    paths = archives(DATA)
    warcio = warcio_pages(paths)
    unexplained = 0
    print(f"{'archive':54} {'ours':>5} {'FastWARC':>8} {'warcio':>7}  other records, differences")
    for path in paths:
        found, theirs = outcomes(path), fastwarc_pages(path)
        pages, failure = warcio.get(str(path), ("-", ""))
        reasons = ", ".join(
            f"{reason} {count}" for reason, count in sorted(found.items()) if reason != "page"
        )
        explained = EXPLAINED.get(path.name, (0, 0, ""))
        note = explained[2]
        if found["page"] != theirs and (found["page"], theirs) != explained[:2]:
            note, unexplained = "! not explained", unexplained + 1
        notes = "; ".join(filter(None, (reasons, note, failure and f"warcio: {failure}")))
        print(f"{path.name[:54]:54} {found['page']:5} {theirs:8} {pages:>7}  {notes}")
    print(f"{len(paths)} archives, {unexplained} differences that nothing explains")
    if not warcio:
        print("warcio was not asked; run: make peers")
    sys.exit(unexplained > 0)


if __name__ == "__main__":
    main()
