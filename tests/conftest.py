"""Shared fixtures. No test reaches the network; tests on real data are skipped if the data is
missing.
"""

from __future__ import annotations

import functools
import os
import signal
from pathlib import Path
from typing import Any

os.environ.update(
    HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_DATASETS_OFFLINE="1", DO_NOT_TRACK="1"
)
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # spinning threads on busy cores take five times as long

import pytest

from infra.io.files import sha256_file

# A shell's job in the background has ^C ignored, and so would every process that tests start and
# interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

SERVER = "tests.end_to_end.fixtures"
pytest_plugins = [SERVER]
REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where tests run side by side (`make test`), those of a file stay together, as they share
    fixtures; all that use the one Prefect server of a session, and the small run, are one group.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFixtures(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid.partition("::")[0])

    return ByFixtures(config, log)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Gzip holds the time of day, which must not be in a test's id: all processes of a session
    have to collect the same ones.
    """
    return "gzip" if isinstance(val, bytes) and val.startswith(b"\x1f\x8b") else None


@functools.cache
def _group(file: str) -> str:
    return "server" if SERVER in (REPOSITORY / file).read_text(encoding="utf-8") else file


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of third-party files: `PUNA_REAL_DATA`, else `shared/data` next to the checkout."""
    folder = Path(os.environ.get("PUNA_REAL_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data is not there: {folder} (set PUNA_REAL_DATA)")
    return folder


TOK512_SHA256 = "037cb335abb25d1fa9e8ecae30ed2a3a8ace9302862ebcdc05d51a6bbb10c312"


@pytest.fixture(scope="session")
def stories260k(real_data: Path) -> Path:
    """The folder of the real pretrained tiny Llama; skips if its tokenizer is not the published
    file.
    """
    folder = real_data / "model" / "stories260K"
    found = sha256_file(folder / "tok512.bin") if (folder / "tok512.bin").is_file() else "nothing"
    if found != TOK512_SHA256:
        pytest.skip(
            f"{folder / 'tok512.bin'} is not the published file: sha256 {found[:12]}, not "
            f"{TOK512_SHA256[:12]}"
        )
    return folder
