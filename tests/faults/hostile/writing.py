"""What the cases write with."""

from __future__ import annotations

import json
from pathlib import Path

from tests.faults.hostile.case import DIRECT, PUNA, Command

PLAIN = """\
name: hostile
sources:
  web: {ingest: {format: jsonl, paths: [web.jsonl]}}
"""
ESCAPES = "\\x1b]0;owned\\x07\\x1b[2J\\x9b31m\\u202eabc"
"""A title, a cleared screen, a colour and reversed text, as YAML and JSON strings write them."""


def write(file: Path, text: str | bytes) -> Path:
    """Write a file and the folders above it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text)
    return file


def rows(file: Path, count: int = 8) -> Path:
    """JSON lines that are as they should be."""
    texts = (f"This is the text of page {number}, which is long." for number in range(count))
    return write(file, "".join(json.dumps({"text": text}) + "\n" for text in texts))


def plan(recipe: Path) -> Command:
    """`puna plan`, with the store beside the recipe."""
    return (PUNA, "plan", str(recipe), "--store", "store")


def build(recipe: Path, until: str = "ingest") -> Command:
    """Build the stages up to one."""
    return (*DIRECT, str(recipe), "store", until)
