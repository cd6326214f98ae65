"""The checks of `puna doctor`: whether everything that recipes need is installed, and if not, what
to do.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from flows.cli.doctor_services import services
from flows.cli.findings import Finding

MINIMUM_PYTHON = (3, 11)
LOW_MEMORY_BYTES = 4 * 10**9


def examine(store: str) -> Iterator[Finding]:
    """Everything worth knowing, cheap checks first; `store` is the address of the store."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _python,
        _packages,
        _language_identification,
        _lmplz,
        _torch,
        _machine,
    )
    for check in checks:
        yield from check()
    yield from services(store)


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
        count = torch.cuda.device_count()
        memory = torch.cuda.get_device_properties(0).total_memory
        yield Finding("ok", "torch", f"{torch.__version__}, CUDA {torch.version.cuda}")
        name = torch.cuda.get_device_name(0)
        yield Finding("ok", "GPU", f"{count} x {name}, {memory / 1e9:.0f} GB")
    elif shutil.which("nvidia-smi"):
        yield Finding(
            "bad",
            "GPU",
            f"there is a driver of NVIDIA, and torch {torch.__version__} sees no GPU",
            "install a torch built for CUDA, no newer than the driver (nvidia-smi names it)",
        )
    else:
        yield Finding("note", "torch", f"{torch.__version__}, no GPU: training runs on the CPU")


def _machine() -> Iterator[Finding]:
    import psutil

    from infra.engine.config import available_processors

    yield Finding("ok", "processors", str(available_processors()))
    memory = psutil.virtual_memory()
    low = memory.available < LOW_MEMORY_BYTES
    yield Finding(
        "note" if low else "ok",
        "memory",
        f"{memory.available / 1e9:.0f} of {memory.total / 1e9:.0f} GB available",
        "end other programs, or lower engine.workers" if low else "",
    )
