"""What a tokenizer costs: tokens per character and per byte, before and after growth; and the proofs of growth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import Tokenizer

from tasks.tokenizer.expand import NewToken, undone
from tasks.tokenizer.texts import Document


def plain_ids(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Ids without BOS; special tokens that stand in the text are text."""
    before = tokenizer.encode_special_tokens
    tokenizer.encode_special_tokens = True
    try:
        return [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]
    finally:
        tokenizer.encode_special_tokens = before


def measure(
    before: Tokenizer | None, after: Tokenizer, tokens: Sequence[NewToken], sample: Mapping[str, Sequence[Document]]
) -> dict[str, Any]:
    """Compression by category and by language, coarsening violations, lossy round trips and use of new tokens.

    `before` is the base; None for a tokenizer trained from nothing.
    """
    spelled = {token.id: token.base_ids for token in tokens}
    groups: dict[str, dict[str, dict[str, int]]] = {"categories": {}, "languages": {}}
    violations = lossy = new_used = 0
    used: set[int] = set()
    for category, found in sorted(sample.items()):
        texts = [document.text for document in found]
        ids_after = plain_ids(after, texts)
        ids_before = plain_ids(before, texts) if before is not None else ids_after
        decoded = after.decode_batch(ids_after, skip_special_tokens=False)
        for document, old, new, back in zip(found, ids_before, ids_after, decoded, strict=True):
            if before is not None:
                violations += undone(new, spelled) != old
            lossy += back != document.text
            hits = [token_id for token_id in new if token_id in spelled]
            new_used += len(hits)
            used.update(hits)
            for kind, name in (("categories", category), ("languages", document.language)):
                counts = groups[kind].setdefault(
                    name, dict.fromkeys(("documents", "characters", "bytes", "before", "after"), 0)
                )
                counts["documents"] += 1
                counts["characters"] += len(document.text)
                counts["bytes"] += len(document.text.encode())
                counts["before"] += len(old)
                counts["after"] += len(new)
    return {
        "coarsening_violations": violations,
        "lossy_round_trips": lossy,
        "new_tokens_seen": len(used),
        "new_token_uses": new_used,
        **{
            kind: {name: _rates(counts, before is not None) for name, counts in sorted(found.items())}
            for kind, found in groups.items()
        },
    }


def _rates(counts: Mapping[str, int], compared: bool) -> dict[str, Any]:
    rates: dict[str, Any] = {key: counts[key] for key in ("documents", "characters", "bytes")}
    for when in ("before", "after") if compared else ("after",):
        rates[f"tokens_{when}"] = counts[when]
        rates[f"tokens_per_character_{when}"] = round(counts[when] / max(1, counts["characters"]), 6)
        rates[f"tokens_per_byte_{when}"] = round(counts[when] / max(1, counts["bytes"]), 6)
    return rates
