"""Which encoder a run uses: gigatoken only where it is shown to give the reference's ids.

Two comparisons, before anything is written. The first is of texts made for it (`probe_texts`), once
for a tokenizer. The second is of the run's own documents at places in its files that depend on
nothing but their sizes: one for each MiB, and at least 1,000. What the reference gave for these is
kept as digests, and packing compares them again where it meets them, in the midst of others.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.binning.encode import Encoded, Reference
from tasks.binning.fast import Fast, Unsupported, accepted
from tasks.binning.lines import Lines, read
from tasks.binning.probe_texts import probe_texts
from tasks.binning.verdicts import Verdict, keep, kept
from tasks.documents.tokenize import DocumentTokenizer

SAMPLE_BYTES = 1 << 20
SAMPLE_DOCUMENTS = 1_000
_BATCH = 256


def compare_texts(folder: Path, tokenizer: DocumentTokenizer, cache: Path) -> Verdict:
    """Compare on texts made for it, unless it was done before (`tasks.binning.verdicts`), since
    this takes the time of tokenizing 50 to 100 MB.
    """
    found = kept(folder, cache)
    if found is None:
        found = _compare_texts(tokenizer)
        keep(found, folder, cache)
    return found


def _compare_texts(tokenizer: DocumentTokenizer) -> Verdict:
    try:
        fast = Fast(accepted(tokenizer), lambda: Reference(tokenizer))
    except Unsupported as error:
        return Verdict(str(error))
    texts = probe_texts(tokenizer.state())
    random.Random(14).shuffle(texts)
    reference = Reference(tokenizer)
    for at in range(0, len(texts), _BATCH):
        batch = texts[at : at + _BATCH]
        if example := _difference(batch, reference.encode(batch), fast.encode(batch)):
            return Verdict("ids differ on a text of the probe", example)
    return Verdict()


def compare_documents(folder: Path, lines: Sequence[Lines]) -> Verdict:
    """Compare on documents of the run: the first of each of these lines."""
    tokenizer = DocumentTokenizer(folder)
    reference = Reference(tokenizer)
    fast = Fast(accepted(tokenizer), lambda: reference)
    found = {
        (document.place, document.at): document
        for one in lines
        for document in itertools.islice(read(one), 1)
    }
    digests: list[tuple[str, int, str]] = []
    places_of = list(found)
    for at in range(0, len(places_of), _BATCH):
        places = places_of[at : at + _BATCH]
        texts = [(found[place].prompt, found[place].text) for place in places]
        expected = reference.encode(texts)
        if example := _difference(texts, expected, fast.encode(texts)):
            return Verdict("ids differ on a document", example, tuple(digests))
        digests += [
            (*place, digest) for place, digest in zip(places, digests_of(expected), strict=True)
        ]
    return Verdict(digests=tuple(digests))


def sample(files: Sequence[tuple[Path, int, str]]) -> list[Lines]:
    """Places in the files, given as (path, bytes, source), at which to read a document."""
    total = sum(size for _, size, _ in files)
    step = max(1, min(SAMPLE_BYTES, total // SAMPLE_DOCUMENTS))
    return [
        Lines(path, begin, size, source)
        for path, size, source in files
        for begin in range(0, size, step)
    ]


def digests_of(encoded: Encoded) -> Iterator[str]:
    """A digest of each document's ids and prompt."""
    ends = np.cumsum(encoded.lengths)
    for end, length, prompt in zip(ends, encoded.lengths, encoded.prompts, strict=True):
        content = f"{prompt} ".encode() + encoded.ids[end - length : end].tobytes()
        yield hashlib.blake2b(content, digest_size=8).hexdigest()


def _difference(
    texts: Sequence[tuple[str, str]], expected: Encoded, found: Encoded
) -> dict[str, Any]:
    """The first text whose ids or prompt differ; empty if none do."""
    if (
        np.array_equal(expected.ids, found.ids)
        and np.array_equal(expected.lengths, found.lengths)
        and np.array_equal(expected.prompts, found.prompts)
    ):
        return {}
    for number, pair in enumerate(zip(digests_of(expected), digests_of(found), strict=True)):
        if pair[0] != pair[1]:
            ours, theirs = _ids(expected, number), _ids(found, number)
            same = min(len(ours), len(theirs))
            unequal = np.flatnonzero(ours[:same] != theirs[:same])
            at = int(unequal[0]) if len(unequal) else same
            return {
                "text": json.dumps("".join(texts[number]), ensure_ascii=True)[:200],
                "at_token": at,
                "expected": ours[at : at + 8].tolist(),
                "found": theirs[at : at + 8].tolist(),
                "prompt_tokens": [int(expected.prompts[number]), int(found.prompts[number])],
            }
    return {}


def _ids(encoded: Encoded, number: int) -> Any:
    end = int(np.cumsum(encoded.lengths)[number])
    return encoded.ids[end - int(encoded.lengths[number]) : end]
