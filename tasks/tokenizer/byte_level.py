"""Byte-level BPE as a base to grow: GPT-2, Llama-3, Qwen."""

from __future__ import annotations

from tokenizers import Tokenizer

from infra.stage import StageError
from tasks.checkpoints.fast_tokenizers import byte_level_content, byte_level_token
from tasks.tokenizer.family import added_tokens_in


class ByteLevel:
    """Pieces are byte strings within one word of the pre-tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        if tokenizer.pre_tokenizer is None:
            raise StageError(
                "the base's byte-level tokenizer has no pre-tokenizer, so words cannot be told "
                "apart; use `expand: null`, or a base with one"
            )
        self.tokenizer = tokenizer
        self.normalizer, self.pre_tokenizer = tokenizer.normalizer, tokenizer.pre_tokenizer
        self.vocabulary = tokenizer.get_vocab()
        self.base_contents = {
            content
            for token in self.vocabulary
            if (content := byte_level_content(token)) is not None
        }
        self.holds_added = added_tokens_in(tokenizer)

    def words(self, text: str) -> list[str]:
        plain = self.normalizer.normalize_str(text) if self.normalizer is not None else text
        return [word for word, _ in self.pre_tokenizer.pre_tokenize_str(plain)]

    def segments(self, word: str) -> list[bytes]:
        return [
            byte_level_content(token.value) or b"" for token in self.tokenizer.model.tokenize(word)
        ]

    def content(self, text: str) -> bytes:
        return text.encode()

    def has_token(self, content: bytes) -> bool:
        return content in self.base_contents

    def may_be_added(self, content: bytes) -> bool:
        return content not in self.base_contents and not self.holds_added(
            content.decode(errors="ignore")
        )

    def may_join(self, content: bytes, longest: int) -> bool:
        return whole_characters_or_step(content, longest) and self.may_be_added(content)

    def token(self, content: bytes) -> str:
        return byte_level_token(content)

    def text(self, content: bytes) -> str | None:
        try:
            return content.decode()
        except UnicodeDecodeError:
            return None

    def base_ids(self, content: bytes) -> tuple[int, ...]:
        return (self.vocabulary[byte_level_token(content)],)


def whole_characters_or_step(content: bytes, longest: int) -> bool:
    """Whether bytes are at most `longest` whole characters, or a proper prefix of a single one."""
    try:
        return len(content.decode()) <= longest
    except UnicodeDecodeError:
        continues = all(0x80 <= byte <= 0xBF for byte in content[1:])
        return continues and len(content) < _character_bytes(content[0])


def _character_bytes(lead: int) -> int:
    """Bytes of a UTF-8 character by its lead byte; 0 where no character begins with that byte."""
    if 0xC2 <= lead <= 0xDF:
        return 2
    if 0xE0 <= lead <= 0xEF:
        return 3
    if 0xF0 <= lead <= 0xF4:
        return 4
    return 0
