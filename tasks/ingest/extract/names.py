"""Names of HTML elements and words of class names, as the tables that the compiled scan reads."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tasks.ingest.extract.tables import empty, place

INLINE, VOID, SKIP, RAW, PRE, LINK, BUTTON = (1 << bit for bit in range(7))
"""How the scan treats an element: part of a line; without an end tag; with its content not shown
as text; with content that is not mark-up; with white space kept; a link; a control.
"""


def _listed(words: str) -> tuple[str, ...]:
    return tuple(words.split())


_INLINE = _listed("""
    abbr acronym b bdi bdo big blink cite code data del dfn em font i ins kbd mark nobr output q
    rb rp rt rtc ruby s samp small span strike strong sub sup tt u var time label meter progress
    picture math semantics mrow mi mo mn ms mtext msup msub msubsup mfrac msqrt mroot mstyle
    munder mover munderover mpadded mphantom mspace mtable mtr mtd menclose slot
""")
_SKIP = _listed("""
    svg select datalist textarea template title canvas audio video object map annotation
    annotation-xml option optgroup
""")
_RAW = _listed("script style xmp iframe noembed noframes plaintext")
_VOID = _listed("area base br col embed hr img input link meta param source track wbr")
_INLINE_VOID = ("br", "img", "wbr", "source", "input")
_BLOCKS = _listed("""
    html head body p li h1 h2 h3 h4 h5 h6 td th dd dt pre blockquote figcaption div section article
    main nav header footer aside form table ul ol dl tr tbody thead tfoot caption figure details
    summary dialog fieldset legend address noscript center menu hgroup search frameset
""")
TAGS = ("?", *_BLOCKS, "a", "button", *_INLINE, *_SKIP, *_RAW, *_VOID)
"""Names by number; 0 is any other."""

_FNV, _PRIME, _MASK = 0xCBF29CE484222325, 0x100000001B3, (1 << 64) - 1


def hash_of(word: str) -> int:
    """FNV-1a of the UTF-8 bytes, 64 bits."""
    value = _FNV
    for byte in word.encode():
        value = (value ^ byte) * _PRIME & _MASK
    return value


def _flags(name: str) -> int:
    flags = INLINE * (name in _INLINE or name in _INLINE_VOID or name in ("a", "button"))
    flags |= VOID * (name in _VOID) | SKIP * (name in _SKIP or name in _RAW) | RAW * (name in _RAW)
    return flags | PRE * (name == "pre") | LINK * (name == "a") | BUTTON * (name == "button")


def tag_table() -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(hashes of names as a table, their numbers into `TAGS` and flags, int64)."""
    keys = empty(len(TAGS))
    numbers, flags = np.zeros(len(keys), np.int64), np.zeros(len(keys), np.int64)
    for number, name in enumerate(TAGS):
        at = place(keys, np.uint64(hash_of(name)))
        numbers[at], flags[at] = number, _flags(name)
    return keys, numbers, flags


NUMBER = {name: number for number, name in enumerate(TAGS)}

ANCESTORS = (
    "nav", "header", "footer", "aside", "main", "article", "section", "form", "table", "ul", "ol",
    "li", "figure", "blockquote", "dl", "pre", "details", "dialog", "noscript", "address",
    "h1", "h2", "h3", "h4", "p", "tr", "th", "body",
)  # fmt: skip
"""Elements that a block knows that it stands in, by bit."""
HIDDEN_BIT, ARIA_BIT = 60, 61


def ancestor_bits() -> npt.NDArray[np.uint64]:
    """The bit that an element sets for what it holds, by its number; uint64 (len(TAGS),)."""
    bits = np.zeros(len(TAGS), np.uint64)
    for bit, name in enumerate(ANCESTORS):
        bits[NUMBER[name]] = np.uint64(1 << bit)
    return bits


CATEGORIES: dict[str, str] = {
    "navigation": "nav navbar navigation menu submenu menuitem megamenu topnav mainnav sitenav navlink navitem topbar toolbar",
    "breadcrumb": "breadcrumb breadcrumbs crumb crumbs",
    "footer": "footer foot colophon bottom sitefooter siteinfo",
    "header": "header masthead head top banner siteheader",
    "aside": "aside sidebar sidebars side rail complementary widget widgets secondary sticky rightrail leftcol rightcol col right left",
    "related": "related recommended recommend recommendations recommendation more also similar popular trending latest recent upsell crosssell discover suggested suggestions upnext readmore featured",
    "comment": "comment comments reply replies respond discussion disqus commentlist remark",
    "share": "share sharing social socials follow facebook twitter pinterest linkedin whatsapp sharebar addthis sharedaddy",
    "advert": "ad ads advert advertisement adsense sponsor sponsored promo promotion promoted promos banner dfp gpt outbrain taboola affiliate",
    "consent": "cookie cookies consent gdpr ccpa onetrust privacy notice cmp",
    "overlay": "modal popup overlay dialog lightbox drawer offcanvas flyout toast tooltip popover backdrop",
    "account": "login signin signup register account auth user my profile member",
    "newsletter": "newsletter subscribe subscription mailchimp klaviyo optin email mail signupform",
    "search": "search searchbar searchform query autocomplete typeahead",
    "filter": "filter filters facet facets refine refinement sort sorting sortby toolbar",
    "author": "author byline bio writer authors contributor avatar",
    "date": "date time timestamp published datetime posted dateline updated",
    "tags": "tag tags category categories cat topics topic label labels keywords hashtag chip chips badge",
    "content": "content contents entry main body text article post story prose richtext rte markdown wysiwyg maincontent articlebody postcontent entrycontent editor formatted",
    "description": "description desc summary excerpt intro lead details detail about overview abstract deck dek subtitle information info",
    "title": "title heading headline name h1 h2 h3 subheading",
    "product": "product products pdp sku item items variant variants swatch woocommerce goods",
    "price": "price prices pricing cost amount sale discount money",
    "cart": "cart basket checkout minicart bag buy purchase wishlist shipping payment quantity qty",
    "review": "review reviews rating ratings star stars testimonial testimonials feedback",
    "card": "card cards tile tiles grid teaser list listing results result collection row rows gallery feed stream",
    "pager": "pagination pager page next prev previous pages loadmore paginate",
    "hidden": "hidden hide collapse collapsed invisible hiddenvisually sr screenreader visuallyhidden offscreen dropdown closed",
    "media": "image img photo picture video caption slider carousel slide swiper media figure credit thumbnail thumb player slick",
    "faq": "faq faqs accordion question answer questions answers tab tabs panel tabpanel toggle",
    "toc": "toc tableofcontents outline onthispage",
    "forum": "message thread messages threads quote signature sig postbody forum posts bbcode topicpost postbit cooked",
    "meta": "meta metadata info stats count counter views likes like vote votes score points permalink",
    "legal": "copyright legal disclaimer terms policy license rights",
    "code": "code highlight syntax pre snippet hljs prism codehilite example",
    "button": "button btn cta action actions link links readmore",
    "skip": "skip accessibility lang language languages locale country region currency",
    "documentation": "docs doc documentation guide tutorial section reference api docstring rst md",
    "contact": "contact address phone hours map location locations store",
    "hero": "hero jumbotron splash cover feature features benefits service services",
}
"""Words of class, id and role, by what they say of an element; a word may be in several."""


def word_table() -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """(hashes of words as a table, their categories as bits, uint64)."""
    keys = empty(sum(len(words.split()) for words in CATEGORIES.values()))
    masks = np.zeros(len(keys), np.uint64)
    for bit, words in enumerate(CATEGORIES.values()):
        for word in words.split():
            masks[place(keys, np.uint64(hash_of(word)))] |= np.uint64(1 << bit)
    return keys, masks
