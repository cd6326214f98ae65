"""Which encoding is detected: declared correctly, wrongly or not at all; what is not text."""

from __future__ import annotations

import itertools
import random
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.ingest.charset.detect import decode, encoding
from tasks.ingest.charset.labels import declared_in
from tasks.ingest.charset.utf8 import is_valid_utf8
from tasks.ingest.page import html_text
from tasks.ingest.raw_documents import RawDocument, Unreadable
from tasks.ingest.web import web_documents
from tests.benchmarks.charset_matrix import cases, same_text
from tests.tasks.ingest.archives import members, response

PROSE = {
    "zh": "第一回说到渡口边住着一位老人，他每日清早便起来撑船，往来的客人都认得他，却没有人知道他从哪里来。",  # noqa: E501
    "zh_hant": "第一回說到渡口邊住著一位老人，他每日清早便起來撐船，往來的客人都認得他，卻沒有人知道他從哪裡來。",  # noqa: E501
    "ja": "その老人は毎朝早くから舟を出した。渡し場の人々はみな彼を知っていたが、どこから来たのかは誰も知らない。",  # noqa: E501
    "ko": "그 노인은 매일 아침 일찍 일어나 배를 저었다. 나루터 사람들은 모두 그를 알았지만 어디서 왔는지는 몰랐다.",  # noqa: E501
    "ru": "Старик Яков каждое утро вставал рано и перевозил людей через Неву. "
        "Все его знали, но никто не знал, кто он и чья это лодка.",
    "uk": "Старий щоранку рано вставав і перевозив людей через річку, і всі його "
        "знали, але ніхто не знав, звідки він є.",
    "el": "Ο γέρος σηκωνόταν κάθε πρωί νωρίς και περνούσε τους ανθρώπους από το "
        "ποτάμι, και όλοι τον ήξεραν.",
    "he": "הזקן קם בכל בוקר מוקדם והעביר את האנשים בסירה אל מעבר לנהר, וכולם "
        "הכירו אותו אבל איש לא ידע מאין בא.",
    "ar": "كان الشيخ يستيقظ كل صباح مبكرا وينقل الناس عبر النهر، وكان الجميع "
        "يعرفونه ولكن لا أحد يعرف من أين جاء.",
    "th": "ชายชราตื่นแต่เช้าทุกวันและพาผู้คนข้ามแม่น้ำ ทุกคนรู้จักเขา "
        "แต่ไม่มีใครรู้ว่าเขามาจากที่ไหน “แม่น้ำ” เขาพูด…",
    "tr": "Yaşlı adam her sabah erkenden kalkar ve insanları ırmağın karşısına "
        "geçirirdi; herkes onu tanırdı, ama kimse bilmezdi.",
    "pl": "Starzec każdego ranka wstawał wcześnie i przewoził ludzi przez rzekę; "
        "wszyscy go znali, lecz nikt nie wiedział, skąd przyszedł.",
    "cs": "Stařec každé ráno vstával brzy a převážel lidi přes řeku; všichni ho "
        "znali, ale nikdo nevěděl, odkud přišel.",
    "fr": "Le vieillard se levait tôt chaque matin et faisait traverser la "
        "rivière aux voyageurs ; personne ne savait d’où il était arrivé.",
    "de": "Der alte Mann stand früh auf und setzte die Leute über den Fluß; alle "
        "kannten ihn, aber niemand wußte, woher er gekommen war.",
}  # fmt: skip
"""Written for these tests, so none is in the text in which the frequencies were counted."""

ENCODINGS = [
    ("zh", "gb18030", "gbk"),
    ("zh_hant", "big5", "big5"),
    ("ja", "cp932", "shift_jis"),
    ("ja", "euc_jp", "euc-jp"),
    ("ja", "iso2022_jp", "iso-2022-jp"),
    ("ko", "cp949", "euc-kr"),
    ("ru", "cp1251", "windows-1251"),
    ("ru", "koi8_r", "koi8-r"),
    ("ru", "iso8859_5", "iso-8859-5"),
    ("ru", "cp866", "ibm866"),
    ("ru", "mac_cyrillic", "x-mac-cyrillic"),
    ("uk", "koi8_u", "koi8-u"),
    ("el", "cp1253", "windows-1253"),
    ("el", "iso8859_7", "iso-8859-7"),
    ("he", "cp1255", "windows-1255"),
    ("ar", "cp1256", "windows-1256"),
    ("ar", "iso8859_6", "iso-8859-6"),
    ("th", "cp874", "tis-620"),
    ("tr", "cp1254", "iso-8859-9"),
    ("pl", "cp1250", "windows-1250"),
    ("pl", "iso8859_2", "latin2"),
    ("cs", "cp1250", "windows-1250"),
    ("fr", "cp1252", "latin1"),
    ("fr", "mac_roman", "macintosh"),
    ("de", "cp1252", "ascii"),
]
WRONG = (
    "utf-8",
    "iso-8859-1",
    "gb2312",
    "utf-16",
    "shift_jis",
    "windows-1251",
    "big5",
    "x-user-defined",
    "replacement",
)


def page_of(text: str, meta: str = "") -> str:
    return (
        "<!DOCTYPE "
        f"html>\n<html><head>{meta}<title>{text[:9]}</title></head><body><p>{text}</p></body></html>\n"
    )


@pytest.mark.parametrize("wrap", [str, page_of])
@pytest.mark.parametrize("language, codec, label", ENCODINGS)
def test_every_encoding_declared_correctly_wrongly_or_not_at_all(
    language: str, codec: str, label: str, wrap: Callable[[str], str]
) -> None:
    data = wrap(PROSE[language]).encode(codec, "ignore")
    text = data.decode(codec)
    for declared in (label, None, *WRONG):
        assert decode(data, (declared,)) == text, declared
    assert decode(data, (None, label)) == decode(data, ("utf-8", "no-such-charset")) == text


@pytest.mark.parametrize(
    "codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "utf-8", "utf-16", "utf-32"]
)
@pytest.mark.parametrize("language", PROSE)
def test_wide_encodings_are_recognised_undeclared(language: str, codec: str) -> None:
    for text in (PROSE[language], page_of(PROSE[language]), "plain ASCII, no more\r\n"):
        for declared in (None, "iso-8859-1", "utf-16", "ucs-2", "gbk"):
            assert decode(text.encode(codec), (declared,)) == text


def test_wide_encodings_of_scripts_without_a_legacy_encoding() -> None:
    hindi = "बूढ़ा आदमी हर सुबह जल्दी उठता था और लोगों को नदी के पार ले जाता था।"
    georgian = "მოხუცი ყოველ დილით ადრე დგებოდა და ხალხი მდინარეზე გადაჰყავდა."
    for text, codec in itertools.product(
        (hindi, georgian), ("utf-16-le", "utf-16-be", "utf-32-le", "utf-16")
    ):
        assert decode(text.encode(codec)) == text


@pytest.mark.parametrize(
    "label", ["utf-16", "unicode", "ucs-2", "utf-16le", "utf-16be", "UTF-16", "unicodefffe"]
)
def test_a_wrong_utf_16_label_means_utf_8(label: str) -> None:
    for text in ("Größe 中文", "plain", PROSE["zh"], ""):
        page = page_of(text, f'<meta charset="{label}">').encode()
        assert decode(page, (None, *declared_in(page))) == decode(page, (label,)) == page.decode()
    broken = page_of(PROSE["zh"] * 9).encode() + b"\xff"
    assert decode(broken, (label,)) == broken.decode(errors="replace")


@pytest.mark.parametrize(
    "declared", [None, "utf-8", "iso-2022-jp", "iso-8859-1", "shift_jis", "iso-2022-kr"]
)
def test_iso_2022_jp_is_recognised_by_its_escapes(declared: str | None) -> None:
    circled = (
        page_of("@" + PROSE["ja"]).encode("iso2022_jp").replace(b"<p>@", b"<p>\x1b$B-!-\x22\x1b(B")
    )
    assert f"<p>①②{PROSE['ja']}" in decode(circled, (declared,))
    katakana = (
        page_of("@" + PROSE["ja"]).encode("iso2022_jp").replace(b"<p>@", b"<p>\x1b(I6E\x1b(B")
    )
    assert f"<p>ｶﾅ{PROSE['ja']}" in decode(katakana, (declared,))
    shifted = page_of("@" + PROSE["ja"]).encode("iso2022_jp").replace(b"<p>@", b"<p>\x0e6E\x0f")
    assert f"<p>ｶﾅ{PROSE['ja']}" in decode(shifted, (declared,))
    cut = page_of(PROSE["ja"]).encode("iso2022_jp")
    cut = cut.replace("を".encode("iso2022_jp")[3:5], b"\x1b(I6E\x1b(B").replace(
        "ら".encode("iso2022_jp")[3:4], b"$"
    )
    # the escape after the katakana switches to ASCII instead of back to Japanese
    assert PROSE["ja"].replace("を", "ｶﾅ") in decode(cut, (declared,))
    assert "\ufffd" in decode(cut.replace(b"\x1b(I6E\x1b(B", b"\x1b(I6E\x1b(Bx"), (declared,))
    lost = page_of(PROSE["ja"]).encode("iso2022_jp").replace(b"\x1b", b"")
    assert PROSE["ja"] in decode(lost, (declared,))


def test_ascii_with_dollars_and_tildes_stays_ascii() -> None:
    text = (
        "if ($B(x) && ~{a: 1}~) { $BASE = '$B' (B) } ~{x~} <a href='$@(B'>$Bill(Bob)</a> ~{if}~ "
        "$By(B $@home(J\n" * 9
    )
    assert decode(text.encode(), ("iso-2022-jp",)) == text


def test_other_seven_bit_encodings_are_decoded_or_refused() -> None:
    assert decode(PROSE["zh"].encode("hz")) == PROSE["zh"]
    korean = PROSE["ko"].encode("iso2022_kr")
    assert decode(korean, ("iso-2022-kr",)) == PROSE["ko"]
    with pytest.raises(Unreadable, match="charset"):
        decode(
            b"\x1b$)A\x0e" + bytes(byte & 127 for byte in PROSE["zh"].encode("gb2312")) + b"\x0f"
        )
    assert decode(b"2 + 2 +AGE-", ("utf-7",)) == "2 + 2 +AGE-"


def test_damaged_utf_8_stays_utf_8() -> None:
    text = page_of((PROSE["fr"] + PROSE["zh"]) * 5)
    damaged = text.encode().replace("é".encode(), b"\xe9", 3)
    for declared in (None, "utf-8", "windows-1252"):
        assert decode(damaged, (declared,)) == text.replace("é", "\ufffd", 3)
    with pytest.raises(Unreadable, match="charset"):  # half of it in another encoding
        decode((PROSE["zh"] * 5).encode() + (PROSE["zh"] * 5).encode("gb18030"), ("utf-8",))


def test_one_smart_quote_in_english_is_windows_1252() -> None:
    text = (
        "It’s a plain page with one quotation mark of a word processor, and no other letter above "
        "ASCII. " * 3
    )
    for declared in (None, "utf-8", "iso-8859-1", "gbk"):
        assert decode(text.encode("cp1252"), (declared,)) == text


def test_big5_has_eten_and_hkscs_euc_jp_row_13_and_thai_quotes() -> None:
    assert decode(
        PROSE["zh_hant"].encode("big5") + b"\xf9\xd6\xa3\xe1\x88\x62\x8e\x69\x87\xdf", ("big5",)
    ).endswith("碁€Ê̄箸鿋")
    assert decode(
        PROSE["ja"].encode("euc_jp") + b"\xad\xa1\xad\xe2\x8f\xb0\xa1", ("euc-jp",)
    ).endswith("①№丂")
    assert "“แม่น้ำ”" in decode(PROSE["th"].encode("cp874"), ("windows-874",))
    assert decode(PROSE["ja"].encode("cp932") + b"\x87\x40\xfa\x40", ("shift_jis",)).endswith("①ⅰ")


def test_nul_bytes_between_characters_do_not_change_the_encoding() -> None:
    for prose in PROSE.values():
        data = "\0".join(prose[at : at + 3] for at in range(0, len(prose), 3)).encode() + bytes(40)
        assert encoding(data) == "utf-8" and decode(data).replace("\0", "") == prose
        page = page_of(prose * 3).encode()
        padded = b"".join(page[at : at + 300] + bytes(100) for at in range(0, len(page), 300))
        assert prose[:40] in html_text(padded, None)


def junk() -> list[bytes]:
    rng = random.Random(0)
    deflated = zlib.compress("".join(PROSE.values()).encode() * 3)
    return [
        *(rng.randbytes(size) for size in (200, 3_000, 60_000)),
        *(bytes(rng.randrange(first, 255) for _ in range(900)) for first in (128, 161, 64)),
        deflated,
        b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n" + deflated,
        b"\xff\xd8\xff\xe0\0\x10JFIF\0" + rng.randbytes(2_000),
        b"\x1f\x8b\x08\0" + deflated,
        b"GIF89a\1\0\1\0" + deflated,
        bytes(range(256)) * 20,
        bytes(byte & 31 for byte in rng.randbytes(999)),
        b"%PDF-1.4 all in ASCII " * 99,
    ]


@pytest.mark.parametrize(
    "declared", [None, "utf-8", "windows-1252", "macintosh", "gbk", "shift_jis", "koi8-r", "utf-16"]
)
def test_bytes_that_are_not_text_are_refused(declared: str | None) -> None:
    for data in junk():
        with pytest.raises(Unreadable, match="charset"):
            decode(data, (declared,))


def test_words_that_begin_like_a_binary_file_are_text() -> None:
    for words in (
        "RIFF is a container.",
        "ID3 tags hold titles.",
        "BZh marks bzip2.",
        "PAR1 of the course",
    ):
        assert decode(words.encode()) == words


def test_pages_of_archives(tmp_path: Path) -> None:
    plain, html = (
        PROSE["ja"] * 4,
        page_of(PROSE["ja"] * 4, '<meta http-equiv=x content="text/html; charset=utf-16">'),
    )
    records = [
        response(html.encode(), "Content-Type: text/html"),
        response(html.encode("iso2022_jp"), "Content-Type: text/html; charset=utf-8"),
        response(html.encode("cp932"), "Content-Type: text/html; charset=ISO-8859-1"),
        response(plain.encode("euc_jp"), "Content-Type: text/plain; charset=utf-8"),
    ]
    path = tmp_path / "a.warc.gz"
    path.write_bytes(members(records))
    found = list(web_documents(path, lambda offset, inner: True, wet=False, max_page_bytes=1 << 20))
    assert [PROSE["ja"] * 4 in item.text for item in found if isinstance(item, RawDocument)] == [
        True
    ] * 4


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from([b"\x1b$B", b"~{", b"\0\0", b"\xff\xfe", b"$B", b"(B"]),
        )
    ),
    st.sampled_from([None, *WRONG, "iso-2022-jp", "euc-kr", "iso-8859-8-i", ""]),
)
def test_any_bytes_are_text_or_refused(parts: list[bytes], declared: str | None) -> None:
    try:
        decode(b"".join(parts), (declared,)).encode(errors="strict")
    except Unreadable as error:
        assert str(error) == "charset"


@pytest.mark.real
def test_real_sentences_in_every_encoding(real_data: Path) -> None:
    """The misses are short passages in Latin script that consist of equally common letters in two
    encodings.
    """
    right: dict[str, list[bool]] = {"none": [], "right": [], "wrong": []}
    missed = []
    for case in cases(real_data, repeats=1, lengths=(60, 1_000)):
        try:
            found = decode(case.data, (case.declared,))
        except Unreadable:
            found = ""
        right[case.declaration].append(same_text(found, case.text))
        if not right[case.declaration][-1]:
            missed.append((case.language, case.label, case.length, case.declared))
    shares = {declaration: sum(found) / len(found) for declaration, found in right.items()}
    assert shares["none"] >= 0.94 and shares["right"] >= 0.98 and shares["wrong"] >= 0.9, missed
    assert not [
        miss
        for miss in missed
        if miss[0] in ("zh", "zh_hant", "ja", "ko", "uk", "el", "he", "ar", "th")
    ]


ITALIAN = (
    "La città è più bella di lunedì, perché così il caffè è già aperto. Però metà della gente "
    "non c'è: andrà via, dirà che è tardi e tornerà giù al porto. Chissà perché fa così!\n"
)
"""Accents at the ends of words, where what follows is no evidence."""


@pytest.mark.parametrize("times", [1, 3, 40])
def test_accents_at_the_ends_of_words(times: int) -> None:
    data = (ITALIAN * times).encode("cp1252")
    assert decode(data) == decode(data, ("windows-1251",)) == ITALIAN * times
    assert decode((ITALIAN * times).encode("mac_roman"), ("macintosh",)) == ITALIAN * times


def test_combining_tones_are_on_vowels() -> None:
    vietnamese = unicodedata.normalize("NFD", "Mọi người đều được tự do và bình đẳng về phẩm giá.")
    for letter in "âêôăơưÂÊÔĂƠƯ":  # precomposed in the encoding; only tones combine
        vietnamese = vietnamese.replace(unicodedata.normalize("NFD", letter), letter)
    data = (vietnamese * 9).encode("cp1258", "ignore")
    assert encoding(data) == "windows-1258" and decode(data) == data.decode("cp1258")


@pytest.mark.parametrize(
    "text",
    [
        "102年度彰化縣勞工運動會",
        "一片黑沉沉的云雾围绕在一个‘鬼’身边，这鬼一身战斗铠甲，手拿长枪，明显是武将装扮。",
        "凌轩在床上想起凝如琼脂的清凉之气，彻底地叹服。",
    ],
)
def test_hz_of_rare_characters_is_chinese(text: str) -> None:
    simplified = text.encode("gb2312", "ignore").decode("gb2312")
    assert decode(f"<p>{simplified}</p>\n".encode("hz")) == f"<p>{simplified}</p>\n"
    assert decode(b"a~{abcdefgh~}b") == "a~{abcdefgh~}b"


@given(
    st.binary(max_size=30) | st.text(max_size=30).map(lambda text: text.encode("utf-8", "ignore"))
)
def test_valid_utf8_is_what_python_decodes(data: bytes) -> None:
    edges = (
        b"\xed\xa0\x80",
        b"\xc0\x80",
        b"\xf4\x90\x80\x80",
        b"\xef\xbf\xbf",
        b"\xf4\x8f\xbf\xbf",
        b"\xe4\xb8",
    )
    for tried in (data, *(data + edge for edge in edges), *(edge + data for edge in edges)):
        try:
            tried.decode()
        except UnicodeDecodeError:
            assert not is_valid_utf8(tried)
        else:
            assert is_valid_utf8(tried)
