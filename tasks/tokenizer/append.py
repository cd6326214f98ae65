"""Append tokens and merges to a tokenizer, and check that the merges reach the tokens.

Ids follow the base's largest, and ranks its last merge. So the base's merges act first, new pieces
only join what they left (coarsening), and `undone` gives the base's segmentation of any text again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

from infra.stage import StageError
from tasks.tokenizer.family import Family, MissingCharacter
from tasks.tokenizer.learn import LearnedStep


@dataclass(frozen=True)
class NewToken:
    """A token that the base lacks.

    `token`: its string in the vocabulary. `text`: None for part of a character. `base_ids`: the
    base's ids of the same text.
    """

    id: int
    token: str
    text: str | None
    base_ids: tuple[int, ...]


def new_tokens(
    family: Family, known: Sequence[Any], steps: Sequence[LearnedStep[Any]], start: int
) -> tuple[list[NewToken], list[list[str]]]:
    """The tokens of learned steps, with ids from `start` on, and their merges.

    `known`: the contents that the steps' indices begin with (see `expand.learned`).
    """
    strings = [*map(family.token, known), *(family.token(step.content) for step in steps)]
    spelled = [family.base_ids(content) for content in known]
    tokens: list[NewToken] = []
    merges: list[list[str]] = []
    for number, step in enumerate(steps):
        if step.left < 0:
            base_ids = family.base_ids(MissingCharacter(step.content))
        else:
            base_ids = spelled[step.left] + spelled[step.right]
            merges.append([strings[step.left], strings[step.right]])
        spelled.append(base_ids)
        tokens.append(
            NewToken(
                start + number, family.token(step.content), family.text(step.content), base_ids
            )
        )
    return tokens, merges


def appended(base: Tokenizer, tokens: Sequence[NewToken], merges: Sequence[list[str]]) -> Tokenizer:
    """The base's `tokenizer.json` with tokens and merges appended.

    Special tokens listed only in `added_tokens` enter the vocabulary as well, because its ids must
    have no gaps; no merge produces them.

    Raises:
        StageError: ordinary text would be encoded as one of those: a single character, or a whole
            word where the base has `ignore_merges`.
    """
    state = json.loads(base.to_str())
    model = state["model"]
    entering = [
        added
        for added in state["added_tokens"]
        if added["special"] and added["content"] not in model["vocab"]
    ]
    for added in state["added_tokens"]:
        model["vocab"].setdefault(added["content"], added["id"])
    model["vocab"].update({token.token: token.id for token in tokens})
    model["merges"] = [
        *(merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]),
        *merges,
    ]
    grown = Tokenizer.from_str(json.dumps(state, ensure_ascii=False))
    grown.encode_special_tokens = True
    for added in entering:
        if added["id"] in grown.encode(added["content"], add_special_tokens=False).ids:
            raise StageError(
                f"the base's special token {added['content']!r} also occurs in ordinary text: for "
                "new ids to follow it, the vocabulary has to hold it, and such text would be "
                "encoded as it; rename it in the base's tokenizer.json"
            )
    grown.encode_special_tokens = False
    return grown


def without_whole_words(tokenizer: Tokenizer) -> Tokenizer:
    """A copy with `ignore_merges` off, which reaches tokens by merges only; for `unreachable`."""
    state = json.loads(tokenizer.to_str())
    state["model"]["ignore_merges"] = False
    return Tokenizer.from_str(json.dumps(state, ensure_ascii=False))


def unreachable(tokenizer: Tokenizer, tokens: Iterable[NewToken]) -> list[NewToken]:
    """New tokens whose string the merges do not turn into exactly that token."""
    model = without_whole_words(tokenizer).model
    return [
        token for token in tokens if [part.id for part in model.tokenize(token.token)] != [token.id]
    ]


def undone(ids: Iterable[int], spelled: dict[int, tuple[int, ...]]) -> list[int]:
    """`ids` with every new token replaced by its base ids."""
    return [base_id for token_id in ids for base_id in spelled.get(token_id, (token_id,))]
