"""Measure a tokenizer: tokens per character and per byte before and after growth, and its proofs.

`measure` makes the manifest's statistics, `report` the content of `report.json`, which the HTML
report shows.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import regex  # type: ignore[import-untyped]
from tokenizers import Tokenizer

from tasks.checkpoints.fast_tokenizers import WHITESPACE, byte_level_content
from tasks.checkpoints.tokenizer_files import size_of
from tasks.tokenizer.append import NewToken, undone
from tasks.tokenizer.curve import Parts, knee, sizes_to_show, tokens_by_size, uses_when_last
from tasks.tokenizer.learn import LearnedStep
from tasks.tokenizer.texts import SampleText

EXAMPLES_PER_LANGUAGE = 3
LANGUAGES_SHOWN = 8
PIECES_SHOWN = 24
SENTENCE_CHARACTERS = (16, 72)
_BYTE_TOKEN = regex.compile(r"<0x[0-9A-F]{2}>")
_SENTENCES = regex.compile(r"[^\n。！？!?.]+[。！？!?.]?")


def plain_ids(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Ids without BOS; a special token's string in the text is encoded as plain text."""
    before = tokenizer.encode_special_tokens
    tokenizer.encode_special_tokens = True
    try:
        return [
            encoding.ids
            for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        ]
    finally:
        tokenizer.encode_special_tokens = before


def measure(
    before: Tokenizer | None,
    after: Tokenizer,
    tokens: Sequence[NewToken],
    sample: Mapping[str, Sequence[SampleText]],
) -> dict[str, Any]:
    """Compression by category and language, coarsening violations, lossy round trips, new tokens.

    `before` is the base; None for a tokenizer trained from scratch.
    """
    spelled = {token.id: token.base_ids for token in tokens}
    groups: dict[str, dict[str, dict[str, int]]] = {"categories": {}, "languages": {}}
    violations = lossy = new_used = 0
    used: set[int] = set()
    for category, documents in sorted(sample.items()):
        texts = [document.text for document in documents]
        ids_after = plain_ids(after, texts)
        ids_before = plain_ids(before, texts) if before is not None else ids_after
        decoded = after.decode_batch(ids_after, skip_special_tokens=False)
        for document, old, new, back in zip(documents, ids_before, ids_after, decoded, strict=True):
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
            kind: {
                name: _rates(counts, before is not None) for name, counts in sorted(members.items())
            }
            for kind, members in groups.items()
        },
    }


def _rates(counts: Mapping[str, int], compared: bool) -> dict[str, Any]:
    rates: dict[str, Any] = {key: counts[key] for key in ("documents", "characters", "bytes")}
    for when in ("before", "after") if compared else ("after",):
        rates[f"tokens_{when}"] = counts[when]
        rates[f"tokens_per_character_{when}"] = round(
            counts[when] / max(1, counts["characters"]), 6
        )
        rates[f"tokens_per_byte_{when}"] = round(counts[when] / max(1, counts["bytes"]), 6)
    return rates


def report(
    before: Tokenizer | None,
    after: Tokenizer,
    tokens: Sequence[NewToken],
    steps: Sequence[LearnedStep[Any]],
    training_tokens: int,
    sample: Mapping[str, Sequence[SampleText]],
) -> dict[str, Any]:
    """The content of `report.json`; compression by group is in `measure`'s statistics.

    {"size", "base_size", "measured": documents and characters,
     "curve": null or {"knee", "points": [{"size", "training": share of the tokens before,
     "languages": tokens per character}]}, "pieces": see `_pieces`, "examples": {language:
     [{"before": null or [[piece, false]], "after": [[piece, new]]}]}}

    Args:
        before: the base; None for a tokenizer trained from scratch.
        tokens: the new ones in id order.
        steps: the learning run, as long as `tokens` or longer; empty where the pieces were given.
        training_tokens: tokens of the training words as the base segments them; 0 where `steps` is
            empty.
        sample: text to measure on, held out where available.
    """
    uses: dict[str, Counter[int]] = {}
    characters: Counter[str] = Counter()
    for documents in sample.values():
        encoded = plain_ids(after, [document.text for document in documents])
        for document, ids in zip(documents, encoded, strict=True):
            uses.setdefault(document.language, Counter()).update(ids)
            characters[document.language] += len(document.text)
    size = size_of(after)
    parts = parts_of(after, tokens)
    return {
        "size": size,
        "base_size": size - len(tokens),
        "measured": {"documents": sum(map(len, sample.values())), "characters": characters.total()},
        "curve": _curve(size - len(tokens), steps, training_tokens, uses, characters, parts),
        "pieces": _pieces(tokens, sum(uses.values(), Counter()), parts, piece_names(after)),
        "examples": _examples(before, after, {token.id for token in tokens}, sample),
    }


def write_report(path: Path, content: Mapping[str, Any]) -> None:
    """Write `report.json`."""
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def parts_of(grown: Tokenizer, tokens: Sequence[NewToken]) -> dict[int, tuple[int, ...]] | None:
    """The parts each new token is joined from; None where a token is reached by several merges.

    Then the first k new tokens are not one tokenizer cut off at k, and there is no curve.
    """
    vocabulary = grown.get_vocab(with_added_tokens=False)
    new = {token.token: token for token in tokens}
    parts: dict[int, tuple[int, ...]] = {}
    for merge in json.loads(grown.to_str())["model"]["merges"]:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        if (token := new.get(left + right)) is not None:
            if token.id in parts:
                return None
            parts[token.id] = (vocabulary[left], vocabulary[right])
    return {token.id: parts.get(token.id, token.base_ids) for token in tokens}


def _curve(
    start: int,
    steps: Sequence[LearnedStep[Any]],
    training_tokens: int,
    uses: Mapping[str, Counter[int]],
    characters: Mapping[str, int],
    parts: Parts | None,
) -> dict[str, Any] | None:
    """Tokens by vocabulary size and language; None where sizes are not cuts of one run."""
    if not parts or not training_tokens:
        return None
    shown = sorted(uses, key=lambda language: (-characters[language], language))[:LANGUAGES_SHOWN]
    by_size = {language: tokens_by_size(uses[language], parts) for language in shown}
    left = [training_tokens]
    for step in steps[: len(parts)]:
        left.append(left[-1] - step.saved)
    points = [
        {
            "size": size,
            "training": round(left[size - start] / training_tokens, 6),
            "languages": {
                language: round(tokens[size - start] / max(1, characters[language]), 6)
                for language, tokens in by_size.items()
            },
        }
        for size in sizes_to_show(start, start + len(parts))
    ]
    return {"knee": start + knee(steps, training_tokens), "points": points}


def _pieces(
    tokens: Sequence[NewToken], uses: Counter[int], parts: Parts | None, name: Callable[[str], str]
) -> dict[str, Any]:
    """How the measured text uses the new pieces.

    `used`: pieces in the segmentation; `steps`: pieces that occur only as parts of longer ones;
    `unused`: pieces that do not occur. `share_of_tokens`: share of the text's tokens that are new.
    Examples, each with its uses: the most frequent (used, steps), the first learned (unused), and
    the longest.
    """
    when_last = uses_when_last(uses, parts) if parts else {}
    used = [token for token in tokens if uses[token.id]]
    steps = [token for token in tokens if not uses[token.id] and when_last.get(token.id)]
    unused = [token for token in tokens if not uses[token.id] and not when_last.get(token.id)]
    longest = sorted(tokens, key=lambda token: (-len(token.text or ""), token.id))

    def group(members: list[NewToken], counted: Mapping[int, int]) -> dict[str, Any]:
        first = sorted(members, key=lambda token: (-counted.get(token.id, 0), token.id))[
            :PIECES_SHOWN
        ]
        return {
            "count": len(members),
            "share": round(len(members) / max(1, len(tokens)), 6),
            "examples": [
                {"text": name(token.token), "uses": counted.get(token.id, 0)} for token in first
            ],
        }

    return {
        "new": len(tokens),
        "share_of_tokens": round(sum(uses[token.id] for token in tokens) / max(1, uses.total()), 6),
        "used": group(used, uses),
        "steps": group(steps, when_last),
        "unused": group(unused, {}),
        "longest": [
            {"text": name(token.token), "uses": uses[token.id]} for token in longest[:PIECES_SHOWN]
        ],
    }


def piece_names(tokenizer: Tokenizer) -> Callable[[str], str]:
    """Makes vocabulary strings readable: plain spaces, bytes of a partial character as `<E5>`."""

    def byte_level(token: str) -> str:
        content = byte_level_content(token)
        if content is None:
            return token
        try:
            return content.decode()
        except UnicodeDecodeError:
            return "".join(f"<{byte:02X}>" for byte in content)

    def sentencepiece(token: str) -> str:
        return f"<{token[3:5]}>" if _BYTE_TOKEN.fullmatch(token) else token.replace(WHITESPACE, " ")

    return (
        byte_level
        if '"ByteLevel"' in json.dumps(json.loads(tokenizer.to_str())["decoder"])
        else sentencepiece
    )


def _examples(
    before: Tokenizer | None,
    after: Tokenizer,
    new: set[int],
    sample: Mapping[str, Sequence[SampleText]],
) -> dict[str, list[dict[str, Any]]]:
    """A few sentences per language, from different documents, with pieces before and after."""
    chosen: dict[str, list[str]] = {}
    for documents in sample.values():
        for document in documents:
            sentences = chosen.setdefault(document.language, [])
            if (
                len(sentences) < EXAMPLES_PER_LANGUAGE
                and (sentence := _sentence(document.text)) is not None
            ):
                sentences.append(sentence)
    documents_of = Counter(
        document.language for documents in sample.values() for document in documents
    )
    largest = sorted(chosen, key=lambda language: (-documents_of[language], language))
    return {
        language: [
            {
                "before": _segmented(before, sentence, set())
                if before is not None and new
                else None,
                "after": _segmented(after, sentence, new),
            }
            for sentence in chosen[language]
        ]
        for language in largest[:LANGUAGES_SHOWN]
        if chosen[language]
    }


def _sentence(text: str) -> str | None:
    """The first sentence whose length suits one line of the report."""
    low, high = SENTENCE_CHARACTERS
    sentences = (match.group().strip() for match in _SENTENCES.finditer(text[:5_000]))
    return next((sentence for sentence in sentences if low <= len(sentence) <= high), None)


def _segmented(tokenizer: Tokenizer, sentence: str, new: set[int]) -> list[list[str | bool]]:
    (ids,) = plain_ids(tokenizer, [sentence])
    name = piece_names(tokenizer)
    return [[name(tokenizer.id_to_token(token_id) or ""), token_id in new] for token_id in ids]
