"""Whether a base's tokenizer and its embedding matrices belong together, by their sizes."""

from __future__ import annotations

import json

from tokenizers import Tokenizer

from infra.stage import StageError
from tasks.checkpoints.fast_tokenizers import WHITESPACE, byte_level_token
from tasks.checkpoints.tokenizer_files import size_of
from tasks.model.embeddings import NewRow


def added_without_rows(base: Tokenizer, rows: int) -> tuple[NewRow, ...]:
    """Tokens that were added to a base without growing its matrix of `rows` rows.

    The `<pad>` of some copies of Llama-2 is one. Their rows start like those of new tokens, from
    the base's tokens of their text. Empty if pieces of the vocabulary have no rows either: then the
    tokenizer belongs to another model.
    """
    added = sorted(
        (token_id, token.content)
        for token_id, token in base.get_added_tokens_decoder().items()
        if token_id >= rows
    )
    if not added or [token_id for token_id, _ in added] != list(range(rows, size_of(base))):
        return ()
    has_byte_fallback = bool(json.loads(base.to_str())["model"].get("byte_fallback"))
    new_rows = []
    for token_id, content in added:
        text = (
            content.replace(" ", WHITESPACE)
            if has_byte_fallback
            else byte_level_token(content.encode())
        )
        base_ids = tuple(token.id for token in base.model.tokenize(text))
        new_rows.append(NewRow(token_id, base_ids))
    return tuple(new_rows)


def require_rows(base: Tokenizer, rows: int) -> None:
    """`StageError` where pieces of a base's vocabulary have no row in its matrix of `rows` rows."""
    known = size_of(base) - len(added_without_rows(base, rows))
    if known > rows:
        raise StageError(
            f"the base's tokenizer has {known:,} tokens, and its matrix {rows:,} rows: weights and "
            "tokenizer do not belong together; download both from one repository"
        )
