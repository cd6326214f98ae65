"""BPE over characters with byte fallback as a base to grow: Llama-2, llama2.c."""

from __future__ import annotations

from tokenizers import Tokenizer

from infra.stage import StageError
from tasks.checkpoints.fast_tokenizers import WHITESPACE
from tasks.tokenizer.family import MissingCharacter, added_tokens_in
from tasks.tokenizer.rules import SplittingRules


class SentencePieceStyle:
    """Pieces are strings of characters; a missing character is spelled in byte tokens."""

    def __init__(self, tokenizer: Tokenizer, rules: SplittingRules) -> None:
        self.tokenizer = tokenizer
        self.normalizer, self.pre_tokenizer = tokenizer.normalizer, tokenizer.pre_tokenizer
        self.rules = rules
        self.vocabulary = tokenizer.get_vocab()
        absent = [name for name in map(_byte_token, range(256)) if name not in self.vocabulary]
        if absent:
            raise StageError(
                f"the base falls back to bytes but lacks {len(absent)} of the 256 byte tokens, "
                f"e.g. {absent[0]}; use `expand: null`, or a base with all of them"
            )
        self.holds_added = added_tokens_in(tokenizer)
        self.closed_parts = self._parts_of_unreachable()

    def words(self, text: str) -> list[str]:
        plain = self.normalizer.normalize_str(text) if self.normalizer is not None else text
        parts = (
            [part for part, _ in self.pre_tokenizer.pre_tokenize_str(plain)]
            if self.pre_tokenizer is not None
            else [plain]
        )
        return [word for part in parts for word in self.rules.words(part)]

    def segments(self, word: str) -> list[str | MissingCharacter]:
        parts: list[str | MissingCharacter] = []
        run = ""
        for character in word:
            if character in self.vocabulary:
                run += character
            else:
                parts += [token.value for token in self.tokenizer.model.tokenize(run)]
                parts.append(MissingCharacter(character))
                run = ""
        return [*parts, *(token.value for token in self.tokenizer.model.tokenize(run))]

    def content(self, text: str) -> str:
        return text.replace(" ", WHITESPACE)

    def has_token(self, content: str) -> bool:
        return content in self.vocabulary

    def may_join(self, content: str, longest: int) -> bool:
        return self.may_be_added(content) and len(content) <= longest and self.rules.allows(content)

    def may_be_added(self, content: str) -> bool:
        return (
            content not in self.vocabulary
            and content not in self.closed_parts
            and not self.holds_added(content.replace(WHITESPACE, " "))
        )

    def token(self, content: str) -> str:
        return content

    def text(self, content: str) -> str | None:
        return content.replace(WHITESPACE, " ")

    def base_ids(self, content: str | MissingCharacter) -> tuple[int, ...]:
        if isinstance(content, MissingCharacter):
            return tuple(self.vocabulary[_byte_token(byte)] for byte in content.character.encode())
        return (self.vocabulary[content],)

    def _parts_of_unreachable(self) -> set[str]:
        """Prefixes and suffixes of base pieces that the base's merges never produce.

        sentencepiece joins any two neighbours whose joined text is a piece. If such a part became a
        piece, the old piece would become reachable, and text would segment differently.
        """
        tokenize = self.tokenizer.model.tokenize
        special = set(self.tokenizer.get_added_tokens_decoder())
        unreached = [
            piece
            for piece, index in self.vocabulary.items()
            if len(piece) > 1
            and index not in special
            and not _is_byte_token(piece)
            and len(tokenize(piece)) > 1
        ]
        return {
            part
            for piece in unreached
            for cut in range(1, len(piece))
            for part in (piece[:cut], piece[cut:])
        }


def _byte_token(byte: int) -> str:
    return f"<0x{byte:02X}>"


def _is_byte_token(piece: str) -> bool:
    return len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">")
