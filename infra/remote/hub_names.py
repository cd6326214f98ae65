"""Names on the Hugging Face hub: repositories, and paths and patterns in them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, unquote

from infra.stage import StageError

Kind = Literal["dataset", "model"]
WORDS: dict[Kind, str] = {"dataset": "data set", "model": "model"}

_REFERENCE = re.compile(
    r"hf://(?P<datasets>datasets/)?(?P<id>(?!(?:datasets|spaces|buckets)/)[^/@]+/[^/@]+)"
    r"(?:@(?P<revision>refs/(?:convert|pr)/[^/]+|[^/]+))?(?:/(?P<path>.*))?"
)
_NAMES_SHOWN = 12


@dataclass(frozen=True)
class Repository:
    """A repository of the hub at a revision (a branch, tag or commit; "main" by default)."""

    kind: Kind
    id: str
    revision: str = "main"

    def __str__(self) -> str:
        at = f" at {self.revision[:12]}" if self.revision != "main" else ""
        return f"{WORDS[self.kind]} {self.id}{at}"

    @property
    def prefix(self) -> str:
        """Its `hf://` address, with the revision."""
        datasets = "datasets/" if self.kind == "dataset" else ""
        return f"hf://{datasets}{self.id}@{quote(self.revision, safe='')}"

    @property
    def page(self) -> str:
        """The address of its page for people."""
        from huggingface_hub import constants

        return f"{constants.ENDPOINT}/{'datasets/' if self.kind == 'dataset' else ''}{self.id}"


def parse(reference: str) -> tuple[Repository, str]:
    """(repository, path or pattern in it). Raises `StageError` for what is no `hf://` reference."""
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        raise StageError(
            f"{reference}: is not hf://datasets/ORG/NAME[@REVISION]/PATH (a data set) or "
            "hf://ORG/NAME[@REVISION]/PATH (a model)"
        )
    kind: Kind = "dataset" if found["datasets"] else "model"
    revision = unquote(found["revision"] or "main")
    return Repository(kind, found["id"], revision), found["path"] or ""


def nearest(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` where something known is close, else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


def shortened(names: Sequence[str]) -> str:
    """The first names of a list, and how many more."""
    rest = len(names) - _NAMES_SHOWN
    return ", ".join([*names[:_NAMES_SHOWN], *[f"{rest:,} more"] * (rest > 0)]) or "nothing"


def matches(path: str, pattern: str) -> bool:
    """As globs of paths: `*` and `?` within one folder, `**` over several."""
    return re.fullmatch(_regex(pattern), path) is not None


def _regex(pattern: str) -> str:
    parts, at = [], 0
    while at < len(pattern):
        if pattern.startswith("**/", at):
            parts.append("(?:.*/)?")
            at += 3
        elif pattern.startswith("**", at):
            parts.append(".*")
            at += 2
        elif pattern[at] == "*":
            parts.append("[^/]*")
            at += 1
        elif pattern[at] == "?":
            parts.append("[^/]")
            at += 1
        elif pattern[at] == "[" and (end := pattern.find("]", at + 2)) > 0:
            inner = pattern[at + 1 : end]
            inner = f"^{inner[1:]}" if inner[0] == "!" else inner
            parts.append(f"[{inner}]".replace("\\", "\\\\"))
            at = end + 1
        else:
            parts.append(re.escape(pattern[at]))
            at += 1
    return "".join(parts)
