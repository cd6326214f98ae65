"""The checks of `puna doctor`: whether everything that recipes need is installed, and if not, what
to do.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Verdict = Literal["ok", "note", "bad"]

MINIMUM_PYTHON = (3, 11)
LOW_DISK_BYTES = 5 * 10**9
LOW_MEMORY_BYTES = 4 * 10**9


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    verdict: Verdict
    what: str
    found: str
    action: str = ""


def examine() -> Iterator[Finding]:
    """Everything worth knowing, cheap checks first."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _python,
        _packages,
        _language_identification,
        _lmplz,
        _torch,
        _machine,
        _dashboard,
    )
    for check in checks:
        yield from check()


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= MINIMUM_PYTHON:
        yield Finding("ok", "Python", version)
    else:
        yield Finding(
            "bad", "Python", version, f"use {'.'.join(map(str, MINIMUM_PYTHON))} or newer"
        )


def _packages() -> Iterator[Finding]:
    constraints = Path(__file__).resolve().parents[2] / "constraints.txt"
    if not constraints.is_file():
        yield Finding(
            "note", "packages", "no constraints.txt beside the code, so versions were not compared"
        )
        return
    pins = dict(
        re.findall(
            r"^([A-Za-z0-9._-]+)==([^\s#]+)",
            constraints.read_text(encoding="utf-8"),
            flags=re.MULTILINE,
        )
    )
    needed = {
        re.split(r"[<>=; \[]", line)[0]
        for line in importlib.metadata.requires("puna") or ()
        if "extra" not in line
    }
    wrong = []
    for name, wanted in pins.items():
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            if name in needed:
                wrong.append(f"{name} missing")
            continue
        if installed.partition("+")[0] != wanted:
            wrong.append(f"{name} {installed}, pinned {wanted}")
    if wrong:
        shown = ", ".join(wrong[:4]) + (f" and {len(wrong) - 4} more" if len(wrong) > 4 else "")
        yield Finding("note", "packages", shown, "make setup installs the pinned versions")
    else:
        yield Finding("ok", "packages", "as pinned")


def _language_identification() -> Iterator[Finding]:
    from infra.stage import StageError
    from tasks.langid.model import locate_model

    try:
        found = locate_model("lid.176")
    except StageError as error:
        yield Finding("bad", "lid.176", str(error))
    else:
        yield Finding("ok", "lid.176", f"{found.stat().st_size:,} bytes")
    import fasttext

    if hasattr(fasttext, "train_supervised"):
        yield Finding("ok", "fastText", importlib.metadata.version("fasttext"))
    else:
        action = "pip uninstall fasttext-predict; pip install --force-reinstall --no-deps fasttext"
        yield Finding("bad", "fastText", "overwritten by fasttext-predict", action)


def _lmplz() -> Iterator[Finding]:
    from infra.stage import StageError
    from tasks.language_model import lmplz

    try:
        yield Finding("ok", "lmplz", str(lmplz.find(None)))
    except StageError:
        yield Finding(
            "note",
            "lmplz",
            "not built; the built-in estimator is enough for small corpora",
            "make lmplz",
        )


def _torch() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        yield Finding("ok", "torch", f"{torch.__version__}, {torch.cuda.get_device_name(0)}")
    else:
        yield Finding("note", "torch", f"{torch.__version__}, no GPU: training runs on the CPU")


def _machine() -> Iterator[Finding]:
    from infra.engine.config import available_processors

    yield Finding("ok", "processors", str(available_processors()))
    free = shutil.disk_usage(Path.cwd()).free
    low = free < LOW_DISK_BYTES
    yield Finding(
        "note" if low else "ok",
        "disk",
        f"{free / 1e9:.0f} GB free here",
        "free some space" if low else "",
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield Finding("note" if memory < LOW_MEMORY_BYTES else "ok", "memory", f"{memory / 1e9:.0f} GB")


def _dashboard() -> Iterator[Finding]:
    from flows.monitoring import server

    found = server.running()
    yield Finding(
        "ok", "dashboard", found.address if found else "not running; `puna run` will start it"
    )
