"""Puts random inline markup around a text, which must not change what a reader sees, for tests and
benchmarks.
"""

from __future__ import annotations

import html
import random
from collections.abc import Sequence
from pathlib import Path

TAGS = (
    "a",
    "b",
    "i",
    "em",
    "strong",
    "span",
    "font",
    "sup",
    "sub",
    "q",
    "code",
    "abbr",
    "small",
    "mark",
    "u",
    "s",
    "bdi",
    "cite",
    "kbd",
    "var",
    "ins",
    "del",
    "time",
    "label",
    "button",
)
LONGEST_LINK = 2
"""In characters. A block that consists mostly of links is navigation, for which there is another
rule.
"""
ATTRIBUTES = (
    "",
    "",
    "",
    ' class="share"',
    ' class="jp"',
    ' class="next email"',
    ' id="x1"',
    ' lang="ja"',
    ' title="a &gt; b"',
    ' rel="author"',
    ' href="/w/一?a=1&amp;b=2"',
    " class=date",
    ' itemprop="author"',
    ' data-x="1>0"',
)
BETWEEN = (
    "",
    "",
    "",
    "",
    "<!-- c -->",
    "<wbr>",
    '<a name="n"></a>',
    "<span></span>",
    '<img src="i.png" alt="">',
)


def marked_up(
    text: str,
    rng: random.Random,
    depth: int = 4,
    attributes: Sequence[str] = ATTRIBUTES,
    tags: Sequence[str] = TAGS,
) -> str:
    """HTML whose text nodes add up to `text`: cut at random places into mostly short nodes, wrapped
    in elements nested up to `depth`, with some characters written as references.
    """
    parts: list[str] = []
    at = 0
    while at < len(text):
        size = rng.choice((1, 1, 1, 2, 3, 8, 40))
        piece = text[at : at + size]
        at += size
        if depth and rng.random() < 0.5:
            tag = rng.choice(tags if len(piece) <= LONGEST_LINK else tags[1:])
            parts.append(
                f"<{tag}{rng.choice(attributes)}>{marked_up(piece, rng, depth - 1, attributes, tags)}</{tag}>"  # noqa: E501
            )
        else:
            parts.append("".join(_written(character, rng) for character in piece))
        parts.append(rng.choice(BETWEEN))
    return "".join(parts)


def _written(character: str, rng: random.Random) -> str:
    if character in "<>&":
        return html.escape(character)
    if rng.random() < 0.03 and not character.isspace():
        return rng.choice((f"&#{ord(character)};", f"&#x{ord(character):X};"))
    return character


def page_of(paragraphs: Sequence[str], rng: random.Random) -> str:
    """A page with one <p> per paragraph, each with its own random inline markup."""
    body = "\n".join(f"<p>{marked_up(paragraph, rng)}</p>" for paragraph in paragraphs)
    return (
        "<!DOCTYPE "
        f"html><html><head><title>t</title></head><body><article><div>{body}</div></article></body></html>"
    )


def cjk_pages(real_data: Path, count: int) -> list[tuple[str, ...]]:
    """Pages of 4 paragraphs of real prose, alternating between Chinese (modern translations of
    books), Japanese and Korean (labelled sentences from web and news, 3 per paragraph, reshuffled
    and reused when exhausted).
    """
    rng = random.Random(8)
    lines = {
        "zh": _lines(sorted((real_data / "prose_zh" / "niutrans-modern").glob("*.txt"))),
        "ja": _lines([real_data / "lid" / "lingua-sentences-first-half" / "ja.txt"]),
        "ko": _lines([real_data / "lid" / "lingua-sentences-first-half" / "ko.txt"]),
    }
    return [
        tuple(" ".join(rng.sample(lines[("zh", "ja", "ko")[page % 3]], 3)) for _ in range(4))
        for page in range(count)
    ]


def _lines(files: Sequence[Path]) -> list[str]:
    lines = (
        " ".join(line.split()) for path in files for line in path.read_text("utf-8").splitlines()
    )
    found = [line for line in lines if len(line) >= 30]
    assert len(found) > 100, files
    return found
