"""Extraction keeps the text of every block that it keeps, character for character."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resiliparse.parse.html import HTMLTree

from tasks.ingest.page import html_text
from tests.tasks.ingest.inline_markup import cjk_pages, marked_up, page_of

FILLER = "这一段文字够长，因此算作正文；一页的正文由这样的段落组成，它们比导航、按钮和页脚都长得多，也不都是链接。"  # noqa: E501
ALPHABETS = (
    "北京上海广州第一章另元年月日、，。：；！？“”‘’（）《》…—·々〇",
    "東京漢字のはをがアイウエオーん「」『』・ｱﾝ。、〜",
    "한국어는띄어쓰기가있다서울, .",
    "ภาษาไทยมีสระน้ำใจๆฯ",
    "العربية،؛؟ءًَِّْ می‌خواهم ",
    "👨‍👩‍👧‍👦❤️‍🔥🇩🇪👍🏽☺✓→•★",
    "àéîöüßœŁŵЖиё€£–—„“”‘’«»‹›…§°½²¿¡ aZ5.,(<>&\"'",
    "हिन्दीमेंतमிழ்ক্ষ।",
)
BLOCKS = ("li", "td", "th", "dd", "dt", "div", "blockquote")
AROUND = {
    "td": ("<table><tr>", "</tr></table>"),
    "th": ("<table><tr>", "</tr></table>"),
    "caption": ("<table>", "<tr><td></td></tr></table>"),
}
SPACES = " \n\t"


def collapsed(text: str) -> str:
    return " ".join(text.split())


def extracted(body: str) -> str:
    return html_text(
        f"<html><body><main><div><div>{body}</div></div></main></body></html>".encode(), "utf-8"
    )


texts = st.sampled_from(ALPHABETS).flatmap(
    lambda letters: st.text(letters + SPACES, min_size=1, max_size=60)
)


@settings(max_examples=150, deadline=None)
@given(text=texts, seed=st.integers(0, 2**32))
def test_any_inline_markup_keeps_the_text(text: str, seed: int) -> None:
    """The extracted text equals the input, which is also what the tree's text nodes hold."""
    page = page_of([text + FILLER], random.Random(seed))
    paragraph = HTMLTree.parse(page).document.query_selector("p")  # type: ignore[union-attr]
    assert paragraph is not None and collapsed(paragraph.text or "") == collapsed(text + FILLER)
    assert html_text(page.encode(), "utf-8") == collapsed(text + FILLER)


@settings(max_examples=200, deadline=None)
@given(
    text=texts, seed=st.integers(0, 2**32), block=st.sampled_from((*BLOCKS, "h2", "caption", "p"))
)
def test_any_block_keeps_its_text(text: str, seed: int, block: str) -> None:
    """For any attributes of the markup inside, in any block."""
    inner = marked_up(FILLER + text + FILLER, random.Random(seed))
    before, after = AROUND.get(block, ("", ""))
    found = extracted(f"{before}<{block}>{inner}</{block}>{after}<p>{FILLER}</p>")
    assert found.removeprefix("• ") == f"{collapsed(FILLER + text + FILLER)}\n\n{FILLER}"


@pytest.mark.parametrize(
    ("inline", "shown"),
    [
        ('<a href="/b">北京</a>、<a href="/s">上海</a>和<a href="/g">广州</a>', "北京、上海和广州"),
        ("<i>另</i>一家", "另一家"),
        ("第<b>一</b>章", "第一章"),
        ("<b>5</b>元", "5元"),
        ("<b>1914</b>–<b>1918</b>", "1914–1918"),
        ("<b>5</b> <b>€</b>, <b>“</b>a<b>”</b>", "5 €, “a”"),
        ("<i>là</i> et <i>dé</i>, <b>x</b>,и<b>y</b>", "là et dé, x,иy"),
        ("a<b>x</b>5&nbsp;<b>y</b>", "ax5 y"),
        ("a<i>&#x4e00;</i>b<i>&euro;</i>c<i>l&agrave;</i>d<i>&ldquo;</i>e", "a一b€clàd“e"),
        ("a<!-- c -->一<!-- d -->b<wbr>二<wbr>c", "a一b二c"),
        ("a<i> \n 一 \n </i>b", "a 一 b"),
        ("<b><é</b>", "<é"),
        ("a¶<b>b</b>¶<b>c</b>", "a¶b¶c"),
        ('Title<a class="headerlink" href="#t">¶</a> text', "Title text"),
        ('a<i class="icon">\ue001</i>b<i>&#xe600;</i>c', "abc"),  # displayed only by an icon font
        ("On <time>May 3</time> he <b><time>then</time></b> left", "On May 3 he then left"),
        ("a <b>b</b><!-- c --> <time>2020</time><wbr><i>d</i>", "a b 2020d"),
        (
            'a <span hidden>b</span><span style="display: none">c</span><span '
            'class="hidden">d</span> e',
            "a e",
        ),
        (
            "x<sup>2</sup>H<sub>二</sub>O <font color=red>r</font> <q>q</q> &amp;lt;b&amp;gt; "
            "&lt;i&gt; a < b and c > d",
            "x2H二O r q &lt;b&gt; <i> a < b and c > d",
        ),
        ("one<br>two<br/>三<br>four&nbsp;five", "one\ntwo\n三\nfour five"),
        (
            "<ruby>漢<rp>(</rp><rt>かん</rt><rp>)</rp>字<rt>じ</rt></ruby>と<ruby><rb>東</rb><rtc>E</rtc></ruby>",
            "漢字と東",
        ),
    ],
)
@pytest.mark.parametrize("block", ["p", "li", "td", "dd", "div"])
def test_inline(inline: str, shown: str, block: str) -> None:
    found = extracted(f"<table><tr><{block}>{FILLER}{inline}{FILLER}</{block}></tr></table>")
    assert found.removeprefix("• ") == FILLER + shown + FILLER


@pytest.mark.parametrize("block", ["p", *BLOCKS, "h2"])
def test_links_beside_text_are_not_judged(block: str) -> None:
    inline = (
        'by <a rel="author">Ann</a>, <span itemprop="author">Bob</span> <a class="next email" '
        'href="x">c</a>'
    )
    found = extracted(
        f"<table><tr><{block}>{FILLER}{inline}{FILLER}</{block}></tr></table><p>{FILLER}</p>"
    )
    assert found.removeprefix("• ") == f"{FILLER}by Ann, Bob c{FILLER}\n\n{FILLER}"


@pytest.mark.parametrize("block", ["p", "li", "td", "dd"])
def test_spans_are_not_judged_by_class(block: str) -> None:
    inline = '<span class="jp">犬</span> is <span class="share">inu</span>'
    found = extracted(f"<table><tr><{block}>{FILLER}{inline}{FILLER}</{block}></tr></table>")
    assert found.removeprefix("• ") == f"{FILLER}犬 is inu{FILLER}"


@pytest.mark.parametrize("block", ["p", *BLOCKS])
def test_controls_beside_text_keep_their_words(block: str) -> None:
    inline = "Press <button>Start</button> and <label>Name</label> it"
    found = extracted(f"<table><tr><{block}>{FILLER}{inline}{FILLER}</{block}></tr></table>")
    assert found.removeprefix("• ") == f"{FILLER}Press Start and Name it{FILLER}"


@pytest.mark.parametrize(
    "line",
    [
        '<a class="share">Share</a>',
        '<a rel="next">On</a> <a rel="prev">Back</a>',
        "<label>Name</label>",
        "<button>Send <b>it</b></button>",
        '<span class="jp"><b>x</b> y</span>',
    ],
)
def test_a_line_judged_as_a_whole_stays_out(line: str) -> None:
    for before, after in (
        ("<div>", "</div>"),
        ("<ul><li>", "</li></ul>"),
        ("<div>\n  <!-- c -->", "\n</div>"),
    ):
        assert (
            extracted(f"<p>{FILLER}</p>{before}{line}{after}<p>{FILLER}</p>")
            == f"{FILLER}\n\n{FILLER}"
        )


@pytest.mark.parametrize(
    "attribute",
    [
        'id="logo"',
        "id=ad_12",
        'aria-expanded="false"',
        'data-ad="1"',
        "data-text-ad",
        'CLASS="next"',
        'data-x="1>0" class="jp"',
        'title="it\'s" rel=author',
        "itemprop = 'datePublished'",
        'class="\n share\n"',
    ],
)
@pytest.mark.parametrize("block", ["p", "div", "li"])
def test_every_judging_attribute(attribute: str, block: str) -> None:
    inline = (
        f"{FILLER} one <a {attribute}>two</a>\n   <!-- c --> <I><span "
        f"{attribute}>three</span></I><br>four < five"
    )
    shown = f"{FILLER} one two three\nfour < five"
    assert extracted(f"<{block}>{inline}</{block}>").removeprefix("• ") == shown
    hidden = inline.replace("<span ", "<span hidden ")
    assert extracted(f"<{block}>{hidden}</{block}>").removeprefix("• ") == shown.replace(
        " three", ""
    )


def test_preformatted_text_keeps_lines_and_short_nodes() -> None:
    found = extracted(
        f"<p>{FILLER}</p><pre>\n一\n  <i>二</i>\t&lt;b&gt; "
        f"&amp;amp;\n\n<b>é</b>(à</pre><p>{FILLER}</p>"
    )
    assert found == f"{FILLER}\n\n一\n  二\t<b> &amp;\n\né(à\n\n{FILLER}"


@pytest.mark.parametrize(
    "block",
    ["div", "aside", "figure", "nav", "ul", 'div class="share"', "noscript", "summary", "legend"],
)
def test_words_separated_by_a_block_do_not_touch(block: str) -> None:
    found = extracted(f"<div>{FILLER}one<{block}>two</{block.split()[0]}>three{FILLER}</div>")
    assert "onet" not in found and "onethree" not in found and "twothree" not in found
    assert "one" in found and "three" in found


def test_a_page_of_text_alone_and_one_that_ends_in_it() -> None:
    assert html_text(f"一<b>{FILLER}</b>二".encode(), "utf-8") == f"一{FILLER}二"


@pytest.mark.real
def test_real_prose_in_random_markup(real_data: Path) -> None:
    pages = cjk_pages(real_data, 60)
    for number, paragraphs in enumerate(pages):
        page = page_of(paragraphs, random.Random(number))
        assert html_text(page.encode(), "utf-8") == "\n\n".join(map(collapsed, paragraphs))
