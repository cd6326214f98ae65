"""Grow a BPE tokenizer: learn merges on top of its own segmentation and append them to its merges.

1. Normalize and split the training text into words, as the base does, and count distinct words.
2. Segment each word with the base (`Family.segments`). A sentencepiece-style base spells characters
   that it lacks in byte tokens. Each becomes one `MissingCharacter`, as no merge joins byte tokens.
3. Learn merges on these segments (`tasks.tokenizer.learn`), admitting only pieces that are new,
   short enough, in the wanted scripts, and that leave the base's segmentation as it is.
4. Keep as many steps as `size` asks for, or those up to the knee (`tasks.tokenizer.curve`).
5. Append tokens (ids follow the base's largest) and merges (ranks follow the base's last;
   `tasks.tokenizer.append`).

New merges rank after all old ones, so the base segments first and new pieces only join what it left
(coarsening). Undoing them (`undone`) gives the base's segmentation of any text again; the stage
proves it on measured text. Base ids do not change.

Example: the base lacks "公" and "园" (3 byte tokens each), and the text holds "公园" 4 times. The
word is two missing characters, 6 tokens. First 公 becomes a piece and saves 4 * 2 tokens, then 园
likewise; joining 公 and 园 saves 4. The `base_ids` of the three are 3, 3 and 6 byte tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tokenizers import Tokenizer

from infra.stage import StageError
from tasks.checkpoints.tokenizer_files import size_of
from tasks.tokenizer.append import NewToken, appended, new_tokens
from tasks.tokenizer.curve import knee
from tasks.tokenizer.family import Family, MissingCharacter
from tasks.tokenizer.family_of import family_of
from tasks.tokenizer.learn import FIRST_LOCKED, LearnedStep, learn
from tasks.tokenizer.rules import SplittingRules, written_in
from tasks.tokenizer.stage import require_growth

MAXIMUM_PIECE_CHARACTERS = 16
"""sentencepiece's default, which Llama-2 kept."""


class GrownTokenizer(NamedTuple):
    """A grown tokenizer, and the steps of the learning run it comes from.

    There are more `steps` than `tokens` where the run was cut off at the knee. `tokens_before`:
    tokens of the training words as the base segments them.
    """

    tokenizer: Tokenizer
    tokens: list[NewToken]
    steps: list[LearnedStep[Any]]
    tokens_before: int


Texts = Iterable[str] | Mapping[int, Iterable[str]]
"""Texts, or weight -> texts; a text of weight w counts as w copies of it."""

Segmented = list[tuple[Sequence[Any], int]]
"""Words, each as the contents of its tokens and missing characters, and how often each occurs."""


def grow(
    base: Tokenizer,
    texts: Texts,
    size: int | None,
    longest: int = MAXIMUM_PIECE_CHARACTERS,
    rules: SplittingRules | None = None,
    *,
    maximum: int = 100_000,
    scripts: Sequence[str] = (),
) -> GrownTokenizer:
    """`base` grown to `size` tokens by merges learned on `texts`.

    Args:
        size: None takes the knee of the curve within `maximum` new tokens.
        longest: characters of a new piece, at most.
        rules: the splitting rules of a sentencepiece base; Llama-2's by default.
        scripts: the only scripts that new pieces may be written in (parts of characters excepted);
            none means any.

    Raises:
        StageError: the base is of neither family, is that large already, or the text is too short.
    """
    start = size_of(base)
    if size is not None:
        require_growth(size, start)
    family = family_of(base, rules)
    words = counted(family, texts)
    segmented: Segmented = [(family.segments(word), words[word]) for word in sorted(words)]
    before = sum(count * sum(map(_base_tokens, parts)) for parts, count in segmented)
    budget = maximum if size is None else size - start

    def wanted_piece(content: Any) -> bool:
        if not family.may_join(content, longest):
            return False
        text = family.text(content)
        return not scripts or text is None or written_in(text, scripts)

    known, steps = learned(family, segmented, budget, wanted_piece)
    if not steps:
        where = f"{len(words):,} distinct words" + (
            f", scripts {', '.join(scripts)}" if scripts else ""
        )
        raise StageError(
            f"no new piece occurs at least twice in the text ({where}); give more text"
            + (", or name the scripts it is written in" if scripts else "")
        )
    wanted = budget if size is not None else knee(steps, before)
    if len(steps) < wanted:
        raise StageError(
            f"only {len(steps):,} new pieces occur at least twice in the text, but size {size:,} "
            f"needs {wanted:,}; give more text or ask for at most {start + len(steps):,}"
        )
    tokens, merges = new_tokens(family, known, steps[:wanted], start)
    return GrownTokenizer(appended(base, tokens, merges), tokens, steps, before)


def _base_tokens(part: Any) -> int:
    """How many of the base's tokens a part of a segmented word takes."""
    return len(part.character.encode()) if isinstance(part, MissingCharacter) else 1


def counted(family: Family, texts: Texts) -> dict[str, int]:
    """Distinct words and how often each occurs, weights applied."""
    counts: dict[str, int] = {}
    for weight, members in (texts if isinstance(texts, Mapping) else {1: texts}).items():
        for text in members:
            for word in family.words(text):
                counts[word] = counts.get(word, 0) + weight
    return counts


def learned(
    family: Family,
    segmented: Segmented,
    budget: int,
    may_join: Callable[[Any], bool],
    minimum: int = 2,
) -> tuple[list[Any], list[LearnedStep[Any]]]:
    """Learn steps on segmented words; see `tasks.tokenizer.learn`.

    Returns the contents that occur, at the index that `LearnedStep.left` and `right` name them by,
    and the steps, whose indices continue.

    Args:
        budget: steps, at most.
        may_join: whether a piece with this content is wanted.
        minimum: tokens that a step has to save.
    """
    parts = {part for word, _ in segmented for part in word}
    missing = sorted(part.character for part in parts if isinstance(part, MissingCharacter))
    known = sorted(part for part in parts if not isinstance(part, MissingCharacter))
    symbol: dict[Any, int] = {content: index for index, content in enumerate(known)}
    for index, character in enumerate(missing):
        symbol[MissingCharacter(character)] = FIRST_LOCKED - index
    return known, learn(
        [([symbol[part] for part in word], count) for word, count in segmented],
        known,
        budget,
        may_join=may_join,
        missing={character: len(character.encode()) for character in missing},
        minimum=minimum,
    )
