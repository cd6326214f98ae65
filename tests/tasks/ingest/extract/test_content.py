"""Main content: what is kept by itself and with it, and how it is written."""

import sys

import numpy as np
import pytest
from resiliparse.parse.html import HTMLTree

from infra.stage import StageError
from tasks.ingest.extract.content import chosen, main_content
from tasks.ingest.extract.with_trafilatura import trafilatura_text

PROSE = (
    "Llamas graze on the high plains, where the air is thin, and give wool that is spun by hand in "
    "the villages below. "
)


def extracted(body: str, head: str = "") -> str:
    return main_content(HTMLTree.parse(f"<html><head>{head}</head><body>{body}</body></html>"))


def test_blocks_are_kept_as_long_as_f1_is_expected_to_grow() -> None:
    def kept(probability: list[float], words: list[float]) -> list[int]:
        keep = chosen(np.array(probability, np.float32), np.array(words, np.float32))
        return np.flatnonzero(keep).tolist()

    # beside certain text an uncertain block is dropped; where all are uncertain all are kept
    assert kept([0.95, 0.4, 0.9], [100, 20, 100]) == [0, 2]
    assert kept([0.4, 0.4, 0.4], [100, 20, 100]) == [0, 1, 2]
    assert kept([0.2], [3]) == [0]
    assert kept([0.05, 0.01], [3, 100]) == []  # a page without main content
    assert kept([], []) == []


def test_surroundings_are_dropped() -> None:
    menu = "".join(f'<li><a href="/{word}">{word}</a></li>' for word in ("Home", "News", "About"))
    body = (
        f'<nav class="menu"><ul>{menu}</ul></nav><main><article><h1>Llamas</h1>'
        f"{f'<p>{PROSE * 3}</p>' * 6}</article></main>"
        f'<footer class="footer"><p>© 2024 Example Ltd. All rights reserved.</p>'
        f"<ul>{menu}</ul></footer>"
    )
    assert extracted(body) == "\n\n".join(["Llamas", *[(PROSE * 3).strip()] * 6])


def test_cells_are_written_in_rows_and_items_in_lines() -> None:
    rows = "".join(f"<tr><td>{name}</td><td>{number}</td></tr>" for name, number in (
        ("Height of a llama at the shoulder", "1.7 m"), ("Weight of a grown llama", "130 kg")
    ))  # fmt: skip
    body = (
        f"<p>{PROSE * 4}</p><table>{rows}</table><p>{PROSE * 4}</p><ul><li>{PROSE}<li>{PROSE}</ul>"
    )
    text = extracted(f"<main><article>{body * 2}</article></main>")
    assert "Height of a llama at the shoulder | 1.7 m\nWeight of a grown llama | 130 kg" in text
    assert f"• {PROSE.strip()}\n• {PROSE.strip()}" in text


def test_short_lines_between_paragraphs_stay() -> None:
    choices = ["The air above the plains", "The water of the lakes", "Grass", "Rain"]
    items = "".join(f"<li>{choice}</li>" for choice in choices)
    body = f"<p>{PROSE * 3}</p><p><b>What do they eat?</b></p><ol>{items}</ol><p>{PROSE * 3}</p>"
    text = extracted(f"<div><h1>Llamas</h1>{body}</div>")
    assert all(choice in text for choice in ("Llamas", "What do they eat?", *choices))


def test_code_keeps_its_lines() -> None:
    code = "for llama in herd:\n    if llama.woolly:\n        shear(llama)\n\nprint(len(herd))"
    body = f"<p>{PROSE * 3}</p><pre><code>{code}</code></pre><p>{PROSE * 3}</p>"
    assert code in extracted(f"<main><article>{body}</article></main>")


def test_pages_without_text() -> None:
    assert extracted("") == ""
    assert extracted("<script>x</script>") == ""
    assert main_content(HTMLTree.parse("")) == ""


def test_trafilatura() -> None:
    pytest.importorskip("trafilatura", reason="optional: pip install 'puna[trafilatura]'")
    page = f"<html><body><article><h1>Llamas</h1>{f'<p>{PROSE}</p>' * 5}</article></body></html>"
    assert trafilatura_text(page).count("Llamas graze") >= 1
    assert trafilatura_text("") == ""


def test_trafilatura_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trafilatura", None)
    with pytest.raises(StageError, match=r"pip install 'puna\[trafilatura\]'"):
        trafilatura_text("<p>x")
