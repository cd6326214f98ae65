"""What became of every document: read = kept + dropped[reason] + failed[reason], per source and
language.

Counted in documents and in UTF-8 bytes of prompt and text. Bytes have a further side,
`edited[reason]`: what edits removed from documents that were kept. A stage whose ledger does not
balance fails at commit (`infra.build`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

Side = Literal["read", "kept", "dropped", "failed", "edited"]
UNDETERMINED = "und"
"""BCP 47's code for a language not determined; what documents count as before langid."""


class Entry(NamedTuple):
    """The counts of one source, language, side and reason ("" for read and kept)."""

    source: str
    language: str
    side: Side
    reason: str
    documents: int
    bytes: int


class Ledger:
    """A mutable tally. Shards return theirs as JSON; the stage merges them in shard order."""

    def __init__(self) -> None:
        self._documents: Counter[tuple[str, str, Side, str]] = Counter()
        self._bytes: Counter[tuple[str, str, Side, str]] = Counter()

    def add(
        self,
        source: str,
        language: str | None,
        side: Side,
        reason: str = "",
        *,
        documents: int = 1,
        bytes: int = 0,
    ) -> None:
        """Count documents and their bytes on one side; dropped, failed and edited need a reason."""
        if (side in ("dropped", "failed", "edited")) != bool(reason):
            raise ValueError(
                f"side {side!r} with reason {reason!r}: dropped, failed and edited need one, "
                "others none"
            )
        key = (source, language or UNDETERMINED, side, reason)
        self._documents[key] += 0 if side == "edited" else documents
        self._bytes[key] += bytes

    def merge(self, other: Ledger | Mapping[str, Any]) -> Ledger:
        """Add another ledger (or its JSON) to this one and return this one."""
        ledger = other if isinstance(other, Ledger) else Ledger.from_json(other)
        self._documents.update(ledger._documents)
        self._bytes.update(ledger._bytes)
        return self

    @classmethod
    def merged(cls, ledgers: Iterable[Ledger | Mapping[str, Any]]) -> Ledger:
        """The sum of several ledgers."""
        total = cls()
        for ledger in ledgers:
            total.merge(ledger)
        return total

    def documents(self, side: Side, reason: str | None = None, source: str | None = None) -> int:
        """Documents on one side, over all languages, for one reason or source where given."""
        return sum(entry.documents for entry in self.entries(side, reason, source))

    def bytes(self, side: Side, reason: str | None = None, source: str | None = None) -> int:
        """The same in bytes."""
        return sum(entry.bytes for entry in self.entries(side, reason, source))

    def entries(
        self, side: Side | None = None, reason: str | None = None, source: str | None = None
    ) -> Iterator[Entry]:
        """Entries sorted by source, language, side and reason; only those of the given side, reason
        and source.
        """
        for key in sorted(self._documents):
            entry = Entry(*key, self._documents[key], self._bytes[key])
            if (
                side in (None, entry.side)
                and reason in (None, entry.reason)
                and source in (None, entry.source)
            ):
                yield entry

    def lost(self, source: str | None = None) -> Iterator[Entry]:
        """Entries of documents that were dropped or failed."""
        return (e for e in self.entries(source=source) if e.side in ("dropped", "failed"))

    def sources(self) -> list[str]:
        """Names of the sources, sorted."""
        return sorted({source for source, *_ in self._documents})

    def imbalance(self) -> str:
        """The first source and language that do not balance, in words; "" if all balance."""
        sums: dict[tuple[str, str, str], Counter[str]] = {}
        for e in self.entries():
            sums.setdefault((e.source, e.language, "documents"), Counter())[e.side] += e.documents
            sums.setdefault((e.source, e.language, "bytes"), Counter())[e.side] += e.bytes
        for (source, language, unit), sides in sums.items():
            accounted = sum(amount for side, amount in sides.items() if side != "read")
            if sides["read"] != accounted:
                return (
                    f"source {source!r}, language {language!r}: read {sides['read']} {unit} but "
                    f"accounted for {accounted} ({dict(sides)})"
                )
        return ""

    def to_json(self) -> dict[str, Any]:
        """`{"rows": [{source, language, totals: {documents: {side: n}, bytes: {...}}, reasons:
        [...]}]}`, sorted.
        """
        keys = sorted({(source, language) for source, language, _, _ in self._documents})
        return {"rows": [self._row(source, language) for source, language in keys]}

    def _row(self, source: str, language: str) -> dict[str, Any]:
        entries = sorted(key for key in self._documents if key[:2] == (source, language))
        totals: dict[str, Counter[str]] = {"documents": Counter(), "bytes": Counter()}
        reasons = []
        for key in entries:
            _, _, side, reason = key
            if side != "edited":
                totals["documents"][side] += self._documents[key]
            totals["bytes"][side] += self._bytes[key]
            if reason:
                reasons.append(
                    {
                        "side": side,
                        "reason": reason,
                        "documents": self._documents[key],
                        "bytes": self._bytes[key],
                    }
                )
        return {
            "source": source,
            "language": language,
            "totals": {unit: dict(sorted(sides.items())) for unit, sides in totals.items()},
            "reasons": reasons,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Ledger:
        """The inverse of `to_json`."""
        ledger = cls()
        for row in data["rows"]:
            for side in ("read", "kept"):
                documents = row["totals"]["documents"].get(side)
                if documents is not None:
                    size = row["totals"]["bytes"].get(side, 0)
                    ledger.add(
                        row["source"], row["language"], side, documents=documents, bytes=size
                    )
            for entry in row["reasons"]:
                ledger.add(
                    row["source"],
                    row["language"],
                    entry["side"],
                    entry["reason"],
                    documents=entry["documents"],
                    bytes=entry["bytes"],
                )
        return ledger
