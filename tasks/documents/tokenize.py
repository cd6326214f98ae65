"""Tokenizes documents in the same way for training and evaluation.

Special tokens are added as ids; text that spells one is never recognised as such.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from infra.io.foreign import foreign_json
from infra.stage import StageError

ROLES = ("bos", "eos", "pad", "unk")
"""Special tokens of a `tokenizer_config.json` that are never recognised in text."""


class Tokens(NamedTuple):
    """A document's ids, with begin and end tokens.

    The first `prompt` of them, the begin token included, are not learned.
    """

    ids: npt.NDArray[np.uint32]
    prompt: int


class DocumentTokenizer:
    """The tokenizer of a folder with `tokenizer.json` and `tokenizer_config.json`.

    `names`: the special tokens' text by role (bos, eos, pad, unk), if not to be taken from
    `tokenizer_config.json`. `begin`, `end`: ids put before and after every document ([] where the
    tokenizer has none); `padding`: the id that fills rows. Raises StageError if the tokenizer has
    neither a begin nor an end token.
    """

    def __init__(self, folder: Path, names: Mapping[str, str | None] | None = None) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        if names is None:
            config = foreign_json((folder / "tokenizer_config.json").read_text())
            names = {role: _content(config.get(f"{role}_token")) for role in ROLES}
        # Text that spells the token of a role would otherwise become its id, if the tokenizer lists
        # it as an ordinary added token.
        self._tokenizer.add_special_tokens(
            [name for name in names.values() if name and self._id(name) is not None]
        )
        self._tokenizer.encode_special_tokens = True
        self.begin = self._ids(names.get("bos"))
        self.end = self._ids(names.get("eos"))
        if not self.begin and not self.end:
            raise StageError(
                f"{folder}: the tokenizer has neither bos_token nor eos_token, so nothing would "
                "separate documents; name one in tokenizer_config.json"
            )
        self.padding = (self._ids(names.get("pad")) or self.end or self.begin)[0]

    def state(self) -> str:
        """The tokenizer as JSON, in the form of `tokenizer.json`, special tokens as set up here."""
        state: str = self._tokenizer.to_str()
        return state

    def _id(self, name: str) -> int | None:
        id_: int | None = self._tokenizer.token_to_id(name)
        return id_

    def _ids(self, name: str | None) -> list[int]:
        id_ = self._id(name) if name else None
        return [] if id_ is None else [id_]

    def encode(self, texts: Sequence[tuple[str, str]]) -> list[Tokens]:
        """Ids of documents given as (prompt, text), which are tokenized as one string.

        A token that begins in the prompt and extends into the text (a blank and the first word) is
        learned.
        """
        plain = [text for prompt, text in texts if not prompt]
        encoded = iter(self._tokenizer.encode_batch_fast(plain, add_special_tokens=False))
        prompted = [prompt + text for prompt, text in texts if prompt]
        located = iter(self._tokenizer.encode_batch(prompted, add_special_tokens=False))
        return [
            self._located(next(located), len(prompt)) if prompt else self._plain(next(encoded))
            for prompt, _ in texts
        ]

    def encode_located(self, prompt: str, text: str) -> tuple[Tokens, list[int]]:
        """A document's ids, and the character of `text` at which each learned token ends.

        The end token has no entry.
        """
        encoding = self._tokenizer.encode(prompt + text, add_special_tokens=False)
        tokens = self._located(encoding, len(prompt))
        ends = [end - len(prompt) for _, end in encoding.offsets]
        return tokens, ends[tokens.prompt - len(self.begin) :]

    def _plain(self, encoding: Any) -> Tokens:
        first = len(self.begin)
        last = first + len(encoding.ids)
        ids = np.empty(last + len(self.end), np.uint32)
        ids[:first], ids[first:last], ids[last:] = self.begin, encoding.ids, self.end
        return Tokens(ids, first)

    def _located(self, encoding: Any, prompt_characters: int) -> Tokens:
        ids, _ = self._plain(encoding)
        inside = (
            sum(end <= prompt_characters for _, end in encoding.offsets) if prompt_characters else 0
        )
        return Tokens(ids, len(self.begin) + inside)


def _content(token: Any) -> str:
    """The text of a token in a configuration: a string, or an object with a "content"."""
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else ""
