"""What selected text is made of: by source, language, domain and licence, counted line by line."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from infra.store import Artifact
from tasks.documents.selected import RESERVED_FOLDERS, training_text

NONE_STATED = "none stated"


@dataclass
class Contents:
    """Documents and bytes of UTF-8 by what they are of. `languages` are detected (`und`: not)."""

    sources: dict[str, tuple[int, int]] = field(default_factory=dict)
    languages: Counter[str] = field(default_factory=Counter)
    domains: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)

    @property
    def documents(self) -> int:
        """All of them."""
        return sum(documents for documents, _ in self.sources.values())

    @property
    def bytes(self) -> int:
        """Of their text."""
        return sum(size for _, size in self.sources.values())


def contents(selected: Sequence[Artifact]) -> Contents:
    """Count the lines that training may read (held-out text is not among them)."""
    found = Contents()
    for artifact in selected:
        documents = size = 0
        for name in artifact.files():
            if not name.endswith(".jsonl") or name.split("/")[0] in RESERVED_FOLDERS:
                continue
            with artifact.path(name).open(encoding="utf-8") as lines:
                for line in lines:
                    row = json.loads(line)
                    documents += 1
                    size += len(training_text(row).encode())
                    found.languages[row.get("language") or "und"] += 1
                    found.licences[row.get("license") or NONE_STATED] += 1
                    if domain := domain_of(row.get("url") or ""):
                        found.domains[domain] += 1
        found.sources[artifact.name] = (documents, size)
    return found


def domain_of(url: str) -> str:
    """The host of an address in lower case, without `www.` and port; "" for none."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return ""
    return host.removeprefix("www.")
