"""gigatoken as an encoder: for which tokenizers, with special tokens off, its memory bounded.

Its tables of Unicode are of another version than those of `tokenizers`: what is no character in
one may be a number in the other, and its ids then differ. A document with a character that Python's
tables do not know (`unicodedata`) is encoded by the reference.
"""

from __future__ import annotations

import functools
import gc
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import psutil

from tasks.binning.encode import Encoded, Reference
from tasks.binning.kernels import mark_unknown
from tasks.documents.tokenize import DocumentTokenizer

CACHE_BYTES = 256 << 20
"""Growth of this process's memory after which the encoder is made anew.

Version 0.10 remembers every word it meets, without a limit. Measured with Llama-3's tokenizer:
64 MB of English or Chinese with one edit in 20 words adds 70 to 150 MB; random letters add 250 MB
per 32 MB. A new encoder costs 0.1 s (Llama-2) to 0.4 s (Llama-3).
"""


class Unsupported(ValueError):
    """Why gigatoken cannot stand for a tokenizer."""


def accepted(tokenizer: DocumentTokenizer) -> bytes:
    """What `Fast` reads of a tokenizer, as JSON.

    Raises Unsupported where a part of the tokenizer is one that gigatoken lacks or ignores. Whether
    ids are equal is for the probe to show.
    """
    state = orjson.loads(tokenizer.state())
    if reason := next(unlike(state), ""):
        raise Unsupported(reason)
    # A special token is an id that no text has: without its entry, text that spells it is ordinary
    # text.
    added = [token for token in state["added_tokens"] if not token["special"]]
    return orjson.dumps({**state, "added_tokens": added})


class Fast:
    """gigatoken's encoder of a tokenizer, from `accepted`; `reference` is called for the first
    document that only the reference may encode.
    """

    def __init__(self, json: bytes, reference: Callable[[], Reference]) -> None:
        self._json = json
        self._make_reference = reference
        self._renew()

    def encode(self, texts: Sequence[tuple[str, str]]) -> Encoded:
        """See `tasks.binning.encode.Encoder`."""
        contents = [(prompt + text).encode() for prompt, text in texts]
        slow = _with_unknown_characters(contents)
        prompted = np.fromiter((bool(prompt) for prompt, _ in texts), bool, len(texts))
        if prompted.any() and not _keeps_lengths(self._state):
            slow |= prompted
        if not slow.any():
            return self._encode(texts, contents)
        by_reference, fast = np.flatnonzero(slow).tolist(), np.flatnonzero(~slow).tolist()
        return _merged(
            by_reference,
            self._reference.encode([texts[number] for number in by_reference]),
            fast,
            self._encode([texts[n] for n in fast], [contents[n] for n in fast]),
        )

    def _encode(self, texts: Sequence[tuple[str, str]], contents: Sequence[bytes]) -> Encoded:
        if not texts:
            return Encoded(np.empty(0, np.uint32), np.empty(0, np.int64), np.empty(0, np.int64))
        before = psutil.Process().memory_info().rss
        ragged = self._backend.encode_batch(contents, parallel=False)
        layout = ragged.layout.to_ListOffsetArray64(True)  # an awkward array
        lengths = np.diff(np.asarray(layout.offsets.data)).astype(np.int64)
        ids = np.asarray(layout.content.data, np.uint32)[: int(lengths.sum())]
        self._grown += max(0, psutil.Process().memory_info().rss - before - ids.nbytes)
        if self._grown > CACHE_BYTES:
            self._renew()
        return Encoded(ids, lengths, self._prompts(texts, ids, lengths))

    def _renew(self) -> None:
        try:
            from gigatoken.gigatoken_rs import load_hf_json
        except ImportError as error:
            raise Unsupported(f"gigatoken is not installed ({error})") from error
        self._backend: Any = None
        gc.collect()
        try:
            self._backend = load_hf_json(self._json)
        except Exception as error:  # it declares no class of its own
            raise Unsupported(f"gigatoken does not take this tokenizer: {error}") from error
        self._grown = 0

    @functools.cached_property
    def _reference(self) -> Reference:
        return self._make_reference()

    @functools.cached_property
    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = orjson.loads(self._json)
        del state["model"]["vocab"], state["model"]["merges"]
        return state

    @functools.cached_property
    def _widths(self) -> npt.NDArray[np.int64]:
        """Bytes that each id stands for."""
        vocabulary: dict[int, bytes] = self._backend.vocab
        widths = np.zeros(max(vocabulary, default=-1) + 1, np.int64)
        for index, content in vocabulary.items():
            widths[index] = len(content)
        return widths

    def _prompts(
        self,
        texts: Sequence[tuple[str, str]],
        ids: npt.NDArray[np.uint32],
        lengths: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.int64]:
        """How many ids of each document end within its prompt, by the bytes that ids stand for."""
        prompts = np.zeros(len(texts), np.int64)
        if not any(prompt for prompt, _ in texts):
            return prompts
        normalizers = _parts(self._state.get("normalizer"), "normalizers")
        ends = np.cumsum(lengths)
        for number, (prompt, _) in enumerate(texts):
            if prompt:
                own = ids[ends[number] - lengths[number] : ends[number]]
                width = len(_normalized(prompt, normalizers).encode())
                prompts[number] = np.searchsorted(np.cumsum(self._widths[own]), width, side="right")
        return prompts


@functools.cache
def _unknown() -> npt.NDArray[np.bool_]:
    """Whether a code point may be no character in Python's version of Unicode; planes in which
    there are hardly any are not looked at.
    """
    unknown = np.ones(sys.maxunicode + 1, bool)
    for first, last in ((0, 0x40000), (0xE0000, 0xE1000)):
        categories = map(unicodedata.category, map(chr, range(first, last)))
        unknown[first:last] = [category == "Cn" for category in categories]
    return unknown


def _with_unknown_characters(contents: Sequence[bytes]) -> npt.NDArray[np.bool_]:
    lengths = np.fromiter(map(len, contents), np.int64, len(contents))
    marked: npt.NDArray[np.bool_] = mark_unknown(
        np.frombuffer(b"".join(contents), np.uint8), np.cumsum(lengths), _unknown()
    )
    return marked


def _merged(
    numbers: Sequence[int], encoded: Encoded, others: Sequence[int], other: Encoded
) -> Encoded:
    """The documents `numbers` and `others` in one order."""
    order = np.argsort([*numbers, *others])
    lengths = np.concatenate([encoded.lengths, other.lengths])
    ids = np.split(np.concatenate([encoded.ids, other.ids]), np.cumsum(lengths)[:-1])
    prompts = np.concatenate([encoded.prompts, other.prompts])
    return Encoded(
        np.concatenate([ids[number] for number in order]), lengths[order], prompts[order]
    )


def unlike(state: Mapping[str, Any]) -> Iterator[str]:
    """Parts of a `tokenizer.json` that gigatoken 0.10 ignores, so that its ids would differ."""
    model = state["model"]
    if model["type"] != "BPE":
        yield f"the model is {model['type']}, not BPE"
        return
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(name):
            yield f"the model has {name} {model[name]!r}"
    for token in state["added_tokens"]:
        if not token["special"] and token.get("single_word"):
            yield f"the added token {token['content']!r} matches whole words only"
        if not token["special"] and not token["content"]:
            yield "an added token is empty"
    parts = _parts(state.get("pre_tokenizer"), "pretokenizers")
    if model.get("byte_fallback"):
        return
    splits = [part for part in parts if part["type"] == "Split"]
    levels = [part for part in parts if part["type"] == "ByteLevel"]
    if len(levels) != 1 or parts[-1] is not levels[0] or len(splits) + 1 != len(parts):
        kinds = ", ".join(part["type"] for part in parts) or "none"
        yield f"the pre-tokenizer is not splits before one ByteLevel ({kinds})"
        return
    if levels[0].get("use_regex", True) == bool(splits):
        yield "the pre-tokenizer splits by GPT-2's rule and another, or by none"
    for part in splits:
        if part["behavior"] != "Isolated" or part["invert"]:
            yield f"the pre-tokenizer's split is {part['behavior']}, inverted: {part['invert']}"


def _parts(node: Mapping[str, Any] | None, members: str) -> list[Mapping[str, Any]]:
    """A normalizer or pre-tokenizer as the flat sequence of its parts."""
    if node is None:
        return []
    if node["type"] == "Sequence":
        return [part for member in node[members] for part in _parts(member, members)]
    return [node]


def _keeps_lengths(state: Mapping[str, Any]) -> bool:
    """Whether the bytes of ids add up to the bytes of the normalized text, of every prefix too."""
    normalizers = _parts(state.get("normalizer"), "normalizers")
    plain = all(
        part["type"] == "Prepend"
        or (part["type"] == "Replace" and len(part["pattern"].get("String", "")) == 1)
        for part in normalizers
    )
    pre_tokenizers = _parts(state.get("pre_tokenizer"), "pretokenizers")
    spaced = any(
        part["type"] == "Metaspace" or part.get("add_prefix_space") for part in pre_tokenizers
    )
    named = any(not token["special"] for token in state["added_tokens"])
    return plain and not spaced and not (named and normalizers)


def _normalized(text: str, normalizers: Sequence[Mapping[str, Any]]) -> str:
    for part in normalizers:
        if part["type"] == "Prepend":
            text = part["prepend"] + text
        else:
            text = text.replace(part["pattern"]["String"], part["content"])
    return text
