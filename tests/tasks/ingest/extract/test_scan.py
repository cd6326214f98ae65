"""The scan of a serialised tree: what is a block, and that its text is the text nodes below it."""

import random
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resiliparse.parse.html import HTMLTree

from tasks.ingest.extract.columns import BLOCK_COLUMNS
from tasks.ingest.extract.content import Blocks, cut, described, headings, probabilities
from tasks.ingest.extract.features import FEATURES
from tasks.ingest.extract.head import markup_of, read_head


def blocks_of(markup: str) -> Blocks:
    source = markup_of(str(HTMLTree.parse(markup)))
    return cut(source, read_head(source))


def texts(markup: str) -> list[str]:
    return blocks_of(markup).texts()


@pytest.mark.parametrize(
    ("markup", "shown"),
    [
        ("<p>a <b>b</b><i>c</i><p>d", ["a bc", "d"]),
        ("<div>a<div>b</div>c</div>", ["a", "b", "c"]),
        ("one<br>two<br><br>three", ["one\ntwo", "three"]),
        ("a <custom-element>b</custom-element> c", ["a", "b", "c"]),
        ("x &lt;b&gt; &amp;amp; &quot;q&quot;&nbsp;y", ['x <b> &amp; "q" y']),
        ("<pre>\n  a\n\n    b\tc</pre>", ["  a\n\n    b\tc"]),
        ("<pre><div>one</div><div>two</div></pre>", ["one\ntwo"]),
        ("<script>var a = '<p>x</p>'</script><style>p {}</style>y", ["y"]),
        ("<svg><title>icon</title><g><text>t</text></g></svg>y<select><option>o</select>", ["y"]),
        ("<noscript><p>seen</p></noscript>", ["seen"]),
        ("<template><p>x</p></template>y<textarea><p>z</textarea>", ["y"]),
        ("<a href=/1>one</a><a href=/2>two</a>", ["one two"]),  # nothing but links
        ("so <a href=/1>one</a><a href=/2>two</a> is a word in a line of text", None),
        ("<button>Like</button><button>Share</button>", ["Like Share"]),
        ("<p> \n </p><p>&nbsp;</p><p>x</p>", ["x"]),
        ("<math><mi>x</mi><mo>=</mo><mn>2</mn></math>", ["x=2"]),
        ("<table><tr><td>a<td>b</table>", ["a", "b"]),
    ],
)
def test_blocks(markup: str, shown: list[str] | None) -> None:
    expected = shown or ["so onetwo is a word in a line of text"]
    assert texts(markup) == expected


def test_what_is_counted_of_a_block() -> None:
    found = blocks_of(
        "<p>Price: $5, or <b>four</b> pounds. <a href=x>More</a></p>"
        "<p>一二，三。<button>买</button>"
    )
    first, second = (dict(zip(BLOCK_COLUMNS, row, strict=True)) for row in found.blocks.tolist())
    assert (first["words"], first["links"], first["linked"], first["bold"]) == (6, 1, 4 + 1, 4)
    assert (first["digits"], first["upper"], first["marks"] & 1, first["sentences"]) == (1, 2, 1, 1)
    assert (second["wide"], second["width"], second["buttons"]) == (6, 12, 2)
    assert (second["sentences"], second["punctuation"]) == (1, 1)


NAMES = ("div", "p", "li", "ul", "h2", "section", "b", "a", "span", "i", "td", "custom-tag", "em")


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32))
def test_the_text_of_the_blocks_is_the_text_of_the_page(seed: int) -> None:
    """Whatever the nesting: all characters but white space, in their order."""
    rng = random.Random(seed)
    letters = "ab &<é一。ж"
    parts: list[str] = []
    for _ in range(rng.randrange(1, 40)):
        name = rng.choice(NAMES)
        text = "".join(rng.choices(letters, k=rng.randrange(0, 8)))
        text = text.replace("&", "&amp;").replace("<", "&lt;")
        parts.append(
            rng.choice((f"<{name}>{text}", f"{text}</{name}>", text, "<br>", "<!-- c -->"))
        )
    tree = HTMLTree.parse("<body>" + "".join(parts))
    body = tree.body
    assert body is not None
    shown = "".join(texts("<body>" + "".join(parts)))
    assert "".join(shown.split()) == "".join((body.text or "").split())


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("<>/ab='\"&;- \n!一"), max_size=200))
def test_any_markup_is_scanned(markup: str) -> None:
    source = markup_of(str(HTMLTree.parse(markup)))
    head = read_head(source)
    found = cut(source, head)
    rows = described(found, head)
    assert np.isfinite(rows).all() and rows.shape == (len(found.blocks), len(FEATURES))
    probability = probabilities(found, head)
    assert ((probability > 0) & (probability < 1)).all()


def test_rows_do_not_depend_on_how_many_are_described_at_once() -> None:
    found = blocks_of(
        "<main>" + "<h2>t</h2><p>Words and more of them, so many.</p><ul><li>a</ul>" * 9
    )
    head = read_head(markup_of(""))
    whole = described(found, head)
    parts = [described(found, head, start, 4) for start in range(0, len(found.blocks), 4)]
    assert (np.concatenate(parts) == whole).all()
    assert headings(found)[:3].tolist() == [2, 0, 0]


@pytest.mark.parametrize(
    "part", ["<p>a", "<b>a</b>", "<br>", "<a href=x>", "a&amp;", "<td>一", "<!---->"]
)
def test_time_is_in_proportion_to_the_page(part: str) -> None:
    source = markup_of(str(HTMLTree.parse(part * (300_000 // len(part)))))
    head = read_head(source)
    began = time.process_time()
    found = cut(source, head)
    probabilities(found, head)
    assert time.process_time() - began < 5
