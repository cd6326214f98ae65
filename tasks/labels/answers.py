"""Answers by request, kept in the store as soon as they come: one small file each."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from infra.store.directory import Damaged, Directory


@dataclass(frozen=True)
class Answer:
    """What a model said. `problem`: why it said nothing, as a too long prompt. `input_tokens`,
    `output_tokens`: as the server counts them, 0 where it does not.
    """

    text: str
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    problem: str = ""


@dataclass(frozen=True)
class Answers:
    """Those of a store. Picklable."""

    folder: Directory

    def put(self, key: str, answer: Answer) -> None:
        """Keep an answer; of two for one request, the first stays."""
        content = json.dumps(asdict(answer), ensure_ascii=False)
        with contextlib.suppress(FileExistsError):
            self.folder.create(_name(key), content.encode("utf-8", "surrogatepass"))

    def known(self, keys: Iterable[str]) -> set[str]:
        """Those of the keys that have an answer."""
        there = set(self.folder.files())
        return {key for key in keys if _name(key) in there}

    def read(self, keys: Iterable[str]) -> dict[str, Answer]:
        """The answers that are there. A damaged file is removed, so that it is asked again."""
        wanted = sorted(self.known(keys))
        found = {}
        for key, content in zip(
            wanted, self.folder.read_jsons([_name(key) for key in wanted]), strict=True
        ):
            answer = None if isinstance(content, Damaged) else _answer(content)
            if answer is None:
                self.folder.remove_file(_name(key))
            else:
                found[key] = answer
        return found


def _answer(content: Mapping[str, Any]) -> Answer | None:
    try:
        return Answer(**content)
    except TypeError:
        return None


def _name(key: str) -> str:
    return f"{key[:2]}/{key}.json"
