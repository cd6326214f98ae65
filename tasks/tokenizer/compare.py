"""Colossal-LLaMA's table for any tokenizers: vocabulary, compression rate, tokens per sample.

Colossal's README leaves "compression rate" undefined. In its table, tokens per sample divided by
the rate is 111.8 for every tokenizer, so the rate is tokens per unit of text; as Llama-2 has 1.205,
which is impossible per byte, the unit is the character. So `tokens_per_character` here is
Colossal's compression rate (lower is better). Others use the name for `bytes_per_token` (higher is
better), which is given beside it.

Each tokenizer runs in its own implementation: sentencepiece for `.model` files, `tokenizers` for
the rest.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from tokenizers import Tokenizer

from infra.stage import StageError
from tasks.checkpoints.tokenizer_files import read_tokenizer, size_of

KINDS = (
    "a file (or a folder with one) of these kinds: tokenizer.json, sentencepiece *.model, "
    "Llama-3's rank file, llama2.c's tok*.bin"
)
BATCH_SAMPLES = 1_000


@dataclass(frozen=True)
class TokenizerRow:
    """One tokenizer on all samples; special tokens such as BOS are not counted."""

    name: str
    vocabulary: int
    samples: int
    characters: int
    bytes: int
    tokens: int
    unknown: int
    """Unknown tokens, for text the vocabulary cannot spell; they make a rate look too good."""
    lossy: int
    """Samples that decoding does not restore exactly."""

    @property
    def tokens_per_character(self) -> float:
        """Colossal's compression rate."""
        return self.tokens / max(1, self.characters)

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes."""
        return self.bytes / max(1, self.tokens)

    @property
    def tokens_per_sample(self) -> float:
        """Colossal's average length of samples."""
        return self.tokens / max(1, self.samples)

    def to_json(self) -> dict[str, Any]:
        """All of it, rates included."""
        rates = {
            name: round(getattr(self, name), 6)
            for name in ("tokens_per_character", "bytes_per_token", "tokens_per_sample")
        }
        return asdict(self) | rates


class Coder(Protocol):
    """A tokenizer in its own implementation."""

    @property
    def size(self) -> int:
        """One more than the largest id."""
        ...

    @property
    def unknown(self) -> int | None:
        """Id of the unknown token."""
        ...

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Ids without BOS and EOS; a special token's string in a text is plain text."""
        ...

    def decode(self, ids: list[list[int]]) -> list[str]:
        """Texts."""
        ...


class Fast:
    """A `tokenizers` tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.encode_special_tokens = True
        self.tokenizer = tokenizer
        self.size = size_of(tokenizer)
        name = getattr(tokenizer.model, "unk_token", None)
        self.unknown = tokenizer.token_to_id(name) if name else None

    def encode(self, texts: list[str]) -> list[list[int]]:
        """See `Coder`."""
        return [
            encoding.ids
            for encoding in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        ]

    def decode(self, ids: list[list[int]]) -> list[str]:
        """See `Coder`."""
        return self.tokenizer.decode_batch(ids, skip_special_tokens=False)


class SentencePiece:
    """A sentencepiece model."""

    def __init__(self, path: Path) -> None:
        from sentencepiece import SentencePieceProcessor

        try:
            self.model = SentencePieceProcessor(model_file=str(path))
        except RuntimeError as error:
            raise StageError(
                f"{path} is not a sentencepiece model ({error}); give {KINDS}"
            ) from error
        self.size = self.model.get_piece_size()
        self.unknown = self.model.unk_id()

    def encode(self, texts: list[str]) -> list[list[int]]:
        """See `Coder`."""
        ids: list[list[int]] = self.model.encode(texts)
        return ids

    def decode(self, ids: list[list[int]]) -> list[str]:
        """See `Coder`."""
        texts: list[str] = self.model.decode(ids)
        return texts


def open_coder(path: Path) -> Coder:
    """The tokenizer at `path`; `StageError` if there is none or it cannot be read."""
    if not path.exists():
        raise StageError(f"{path} does not exist; give {KINDS}")
    if path.is_dir():
        path = _tokenizer_file(path)
    if path.name.endswith(".bin"):
        from tasks.checkpoints import llama2c

        return Fast(llama2c.read_tokenizer(path, _llama2c_count(path)))
    if path.name.endswith(".json"):
        return Fast(_read_json(path))
    if _is_ranks(path):
        from tasks.checkpoints.foreign_tokenizers import read_ranks

        return Fast(read_ranks(path)[0])
    return SentencePiece(path)


def _tokenizer_file(folder: Path) -> Path:
    """The file to read: `tokenizer.json` is preferred to a `.model`, as in other libraries."""
    for pattern in (
        "tokenizer.json",
        "tokenizer/tokenizer.json",
        "*.model",
        "tok*.bin",
        "tokenizer/*.model",
    ):
        if len(matches := sorted(folder.glob(pattern))) == 1:
            return matches[0]
    raise StageError(
        f"{folder} has no tokenizer, or several of one kind; it holds "
        f"{[p.name for p in sorted(folder.iterdir())][:12]}; give {KINDS}"
    )


def _read_json(path: Path) -> Tokenizer:
    if path.name == "tokenizer.json":
        return read_tokenizer(path.parent)
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise StageError(f"{path} is not a tokenizer.json ({error}); give {KINDS}") from error


def _is_ranks(path: Path) -> bool:
    with path.open("rb") as file:
        first = file.readline(200).split()
    return len(first) == 2 and first[1] == b"0"


def _llama2c_count(path: Path) -> int:
    """Tokens of a llama2.c tokenizer file: an int32, then score, length and bytes of each."""
    blob, offset, count = path.read_bytes(), 4, 0
    while offset + 8 <= len(blob):
        offset += 8 + max(0, struct.unpack_from("<i", blob, offset + 4)[0])
        count += 1
    return count


def compare(
    tokenizers: Mapping[str, Path], texts: Sequence[str]
) -> tuple[list[TokenizerRow], dict[str, str]]:
    """One row per readable tokenizer, in order; and, by name, why the others cannot be read."""
    rows: list[TokenizerRow] = []
    unread: dict[str, str] = {}
    for name, path in tokenizers.items():
        try:
            rows.append(_row(name, open_coder(path), texts))
        except StageError as error:
            unread[name] = str(error)
        except OSError as error:
            unread[name] = f"{path} cannot be read: {error.strerror or error}"
    return rows, unread


def _row(name: str, coder: Coder, texts: Sequence[str]) -> TokenizerRow:
    tokens = unknown = lossy = 0
    for start in range(0, len(texts), BATCH_SAMPLES):
        batch = list(texts[start : start + BATCH_SAMPLES])
        ids = coder.encode(batch)
        tokens += sum(map(len, ids))
        unknown += (
            sum(sample.count(coder.unknown) for sample in ids) if coder.unknown is not None else 0
        )
        lossy += sum(back != text for back, text in zip(coder.decode(ids), batch, strict=True))
    return TokenizerRow(
        name,
        coder.size,
        len(texts),
        sum(map(len, texts)),
        sum(len(text.encode()) for text in texts),
        tokens,
        unknown,
        lossy,
    )


def named(paths: Sequence[Path]) -> dict[str, Path]:
    """A short name for each path: as many of its last parts as are needed to be unique."""
    whole = [path.absolute() for path in paths]
    depth = 1
    while len({path.parts[-depth:] for path in whole}) < len(set(whole)):
        depth += 1
    return {"/".join(path.parts[-depth:]): path for path in whole}


COLUMNS = (
    "tokenizer",
    "vocabulary",
    "compression rate*",
    "bytes/token",
    "tokens/sample",
    "unknown",
    "lossy",
)


def render(rows: Sequence[TokenizerRow]) -> str:
    """The table as Markdown, which is also readable in a terminal."""
    body = [
        (
            row.name,
            f"{row.vocabulary:,}",
            f"{row.tokens_per_character:.3f}",
            f"{row.bytes_per_token:.3f}",
            f"{row.tokens_per_sample:.3f}",
            f"{row.unknown:,}",
            f"{row.lossy:,}",
        )
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(COLUMNS, *body, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [
        [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        for line in (COLUMNS, rule, *body)
    ]
    table = [f"| {' | '.join(line)} |" for line in lines]
    samples = (
        f"{rows[0].samples:,} samples, {rows[0].characters:,} characters, {rows[0].bytes:,} bytes; "
        if rows
        else ""
    )
    return "\n".join(
        [
            *table,
            "",
            f"{samples}* tokens per character, lower is better",
            "unknown: tokens; lossy: samples that decoding does not restore",
        ]
    )
