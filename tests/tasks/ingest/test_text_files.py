"""Plain text: one encoding per file, lines in any encoding, and what damage costs."""

from __future__ import annotations

import gzip
import itertools
import random
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.ingest.lines import Line, lines
from tasks.ingest.raw_documents import RawDocument, Rejected
from tasks.ingest.text_files import Split, layout_of, text_documents
from tests.tasks.ingest.test_charset_detection import ENCODINGS, PROSE, junk

LIMIT = 1 << 12


def read(path: Path, data: bytes, split: Split, limit: int = LIMIT) -> list[RawDocument | Rejected]:
    path.write_bytes(data)
    return list(text_documents(path, lambda offset, inner: True, split=split, max_page_bytes=limit))


def shown(found: list[RawDocument | Rejected]) -> list[str]:
    return [item.text if isinstance(item, RawDocument) else f"-{item.reason}" for item in found]


def short_lines(text: str) -> list[str]:
    """Lines of 1 to 5 characters, each too short for any detector."""
    sizes = itertools.cycle((1, 4, 2, 5, 3))
    out, at = [], 0
    while at < len(text):
        at, piece = (end := at + next(sizes)), text[at:end]
        out.append(piece.strip() or "x")
    return out


WIDE = [
    (language, codec, "")
    for language in ("zh", "ja", "fr")
    for codec in ("utf-16-le", "utf-16-be", "utf-16", "utf-32")
]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "language, codec, label", [*ENCODINGS, *WIDE, ("zh", "utf-8-sig", ""), ("zh", "hz", "")]
)
def test_lines_and_paragraphs_are_read_in_the_encoding_of_the_file(
    tmp_path: Path, language: str, codec: str, label: str, packed: bool
) -> None:
    prose = PROSE[language].encode(codec, "ignore").decode(codec)
    expected = short_lines(prose) * 5
    encoded = [
        f"{line}\r\n".encode(codec.removesuffix("-sig") if number else codec)
        for number, line in enumerate(expected)
    ]
    if codec in ("utf-16", "utf-32"):  # one byte order mark per file
        encoded[1:] = [f"{line}\r\n".encode(f"{codec}-le") for line in expected[1:]]
    data = b"".join(encoded)
    path = tmp_path / ("a.txt.gz" if packed else "a.txt")
    stored = (
        b"".join(gzip.compress(data[at : at + 37], mtime=0) for at in range(0, len(data), 37))
        if packed
        else data
    )
    found = read(path, stored, "line")
    assert shown(found) == expected
    if not packed:
        places = list(itertools.accumulate(map(len, encoded[:-1]), initial=0))
        assert [(item.offset, item.inner) for item in found if isinstance(item, RawDocument)] == [
            (0, at) for at in places
        ]
    assert len(
        {(item.offset, item.inner) for item in found if isinstance(item, RawDocument)}
    ) == len(expected)
    assert shown(read(path, stored, "file", 1 << 20)) == ["\n".join(expected)]
    blank = (
        "\n".encode(codec.removesuffix("-sig"))
        if codec not in ("utf-16", "utf-32")
        else "\n".encode(f"{codec}-le")
    )
    paragraphs = b"".join(part + blank * (number % 3 == 2) for number, part in enumerate(encoded))
    threes = ["\n".join(expected[at : at + 3]) for at in range(0, len(expected), 3)]
    assert shown(read(tmp_path / "b.txt", paragraphs, "blank-line")) == threes


def test_a_line_in_another_encoding_fails_alone(tmp_path: Path) -> None:
    good = [f"{number} {PROSE['zh']}" for number in range(40)]
    data = [line.encode() for line in good]
    data[7] = good[7].encode("gb18030")
    data[9] = data[9][:29] + b"\xff" + data[9][29:]
    found = shown(read(tmp_path / "a.txt", b"\n".join(data), "line"))
    assert (
        found[7] == "-charset"
        and found[9].replace("\ufffd", "") == good[9]
        and found[9].count("\ufffd") == 1
    )
    assert [line for number, line in enumerate(found) if number not in (7, 9)] == [
        *good[:7],
        good[8],
        *good[10:],
    ]


def test_evidence_of_the_encoding_may_be_anywhere(tmp_path: Path) -> None:
    ascii_part = b"plain words, line after line\n" * 90_000  # 2.6 MB
    for codec in ("gb18030", "utf-8"):
        found = read(
            tmp_path / "a.txt", ascii_part + (PROSE["zh"] + "\n").encode(codec) * 9, "line"
        )
        assert shown(found[-9:]) == [PROSE["zh"]] * 9 and len(found) == 90_009
    mostly = (
        ascii_part + (PROSE["zh"] + "\n").encode() * 400 + (PROSE["zh"] + "\n").encode("gb18030")
    )
    assert shown(read(tmp_path / "a.txt", b"caf\xe9\n" + mostly, "line")).count("-charset") == 1


def test_lines_over_the_limit_are_skipped_in_wide_encodings_too(tmp_path: Path) -> None:
    text = "short\n" + "long " * LIMIT + "\nshort again\n"
    for codec in ("utf-16", "utf-16-le", "utf-32-be", "utf-8", "cp1252"):
        assert shown(read(tmp_path / "a.txt", text.encode(codec), "line")) == [
            "short",
            "-page_too_large",
            "short again",
        ]


@pytest.mark.parametrize("split", get_args(Split))
def test_a_file_that_is_not_text_fails_once(tmp_path: Path, split: Split) -> None:
    for data in junk():
        if data[:2] != b"\x1f\x8b":
            found = read(tmp_path / "a.txt", data, split)
            assert shown(found) == ["-charset"]
            assert isinstance(found[0], Rejected) and (found[0].side, found[0].payload_bytes) == (
                "failed",
                len(data),
            )


def test_empty_files_and_files_with_only_a_mark(tmp_path: Path) -> None:
    for data in (b"", b"\n\n", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff\0\n", b" \r\n"):
        assert (
            read(tmp_path / "a.txt", data, "line")
            == read(tmp_path / "a.txt", data, "blank-line")
            == []
        )


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.text(
            st.characters(blacklist_characters="\n\r", blacklist_categories=("Cs",)), max_size=9
        ),
        max_size=9,
    ),
    st.sampled_from(["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]),
    st.integers(1, 9),
    st.booleans(),
)
def test_wide_lines_are_those_of_the_file(
    tmp_path_factory: pytest.TempPathFactory,
    expected: list[str],
    codec: str,
    piece_bytes: int,
    ended: bool,
) -> None:
    data = "\n".join(expected).encode(codec) + "\n".encode(codec) * ended
    path = tmp_path_factory.mktemp("wide") / "a"
    path.write_bytes(data)
    if data[:2] == b"\x1f\x8b" or data[:4] == b"\x04\x22\x4d\x18":
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.ingest.decompress.CHUNK_BYTES", piece_bytes)
        found = [
            item for item in lines(path, LIMIT, end="\n".encode(codec)) if isinstance(item, Line)
        ]
    written = (expected or [""]) if ended or (expected and expected[-1]) else expected[:-1]
    assert [line.data.decode(codec) for line in found] == (written if data else [])
    assert all(data[line.inner : line.inner + len(line.data)] == line.data for line in found)


def test_the_encoding_does_not_depend_on_how_a_file_is_cut(tmp_path: Path) -> None:
    rng = random.Random(0)
    for language, codec, _ in ENCODINGS:
        data = (PROSE[language] * 9).encode(codec, "ignore")
        plain, packed = tmp_path / "a.txt", tmp_path / "a.txt.gz"
        plain.write_bytes(data)
        cuts = sorted({0, len(data), *(rng.randrange(len(data)) for _ in range(9))})
        packed.write_bytes(
            b"".join(gzip.compress(data[a:b], mtime=0) for a, b in itertools.pairwise(cuts))
        )
        assert layout_of(plain) == layout_of(packed)


def test_korean_in_seven_bits_is_designated_once_for_all_lines(tmp_path: Path) -> None:
    expected = [line for line in short_lines(PROSE["ko"]) if line.strip()]
    data = "\n".join(expected).encode("iso2022_kr")
    assert data.count(b"\x1b$)C") == 1
    assert shown(read(tmp_path / "a.txt", data, "line")) == expected
    assert shown(read(tmp_path / "a.txt", data, "file")) == ["\n".join(expected)]


@pytest.mark.parametrize(
    "codec", ["utf-8", "utf-8-sig", "gb18030", "hz", "utf-16", "utf-16-be", "utf-32"]
)
@pytest.mark.parametrize("packed", [False, True])
def test_lines_may_end_in_carriage_returns(tmp_path: Path, codec: str, packed: bool) -> None:
    """As in files from old Macs. 《 contains the byte of a line feed in UTF-16."""
    written = ["《渡口》的第一行", "第二行《甲》", "", "第四行，又一段"]
    data = "\r".join(written).encode(codec)
    path, stored = tmp_path / "a.txt", gzip.compress(data) if packed else data
    lines_found, paragraphs, whole = (shown(read(path, stored, split)) for split in get_args(Split))
    by_split = dict(zip(get_args(Split), (lines_found, paragraphs, whole), strict=True))
    assert by_split["line"] == [line for line in written if line]
    assert by_split["blank-line"] == ["\n".join(written[:2]), written[3]]
    assert by_split["file"] == ["\n".join(written)]
    mixed = "\r".join(written[:2]) + "\n" + written[3]
    assert len(read(path, mixed.encode(codec), "line")) == 2
