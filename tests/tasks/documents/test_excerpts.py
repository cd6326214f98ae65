"""Excerpts: long texts are shortened in words, edits are shown in their context."""

from tasks.documents.edits import Edit
from tasks.documents.excerpts import MOST_EDITS, edited_excerpt, excerpt, marked_excerpt


def test_a_long_text_is_shortened_in_the_middle() -> None:
    text = " ".join(f"w{n}" for n in range(1_000))
    assert excerpt(text, 6) == "w0 w1 w2 w3 ... (994 more words) ... w998 w999"
    assert excerpt("a few words", 6) == "a few words"
    assert excerpt("字" * 100, 6) == "字字字字 ... (94 more characters) ... 字字"
    assert excerpt("one\n\n\n \n\ntwo", 10) == "one\n\ntwo"
    assert excerpt("x" * 500, 10) == "x" * 60 + "... (440 more characters)"
    assert excerpt("", 10) == ""


def test_edits_are_marked_in_their_context() -> None:
    text = "Menu\nfirst line stays\nFooter\n"
    edits = [Edit(0, 5, "", "line"), Edit(22, 29, "", "line")]
    assert edited_excerpt(text, edits) == "[-Menu-]\nfirst line stays\n[-Footer-]"
    assert edited_excerpt("a b@c d", [Edit(2, 5, "<mail>", "pii")]) == "a [-b@c-]{+<mail>+} d"
    assert edited_excerpt("unchanged", []) == ""
    assert edited_excerpt("Kept. Gone. ", [Edit(5, 12, "\n")]) == "Kept. [-Gone.-] "


def test_long_edits_and_many_edits_are_shortened() -> None:
    long = " ".join(f"w{n}" for n in range(500))
    shown = edited_excerpt(f"{long}\n{long}\n{long}", [Edit(len(long) + 1, 2 * len(long) + 2)])
    assert "[-w0 w1" in shown and shown.count("more words") == 3 and len(shown) < 900
    many = "\n".join(f"line {n} words" for n in range(100))
    starts = [many.index(f"line {n} ") for n in range(0, 100, 2)]
    shown = edited_excerpt(many, [Edit(start, start + 4) for start in starts])
    assert shown.count("[-") == MOST_EDITS and f"({50 - MOST_EDITS} more edits)" in shown


def test_what_a_text_was_removed_for_is_never_shortened_away() -> None:
    long = " ".join(f"w{n}" for n in range(300))
    text = f"{long} the leaked question {long}"
    span = (len(long) + 1, len(long) + 20)
    around = marked_excerpt(text, [span, (span[0] + 4, span[1])])
    assert "w299 »the leaked question« w0" in around and around.count("more words") == 2
    shown = edited_excerpt(text, [Edit(0, len(text), "", "decontaminate")], [span])
    assert shown.startswith("[-... (288 more words) ... w288") and "»the leaked question«" in shown
    assert marked_excerpt("all of it", [(0, 9)]) == "»all of it«"
