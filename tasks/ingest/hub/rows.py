"""Rows of files that neither Parquet's reader nor ours for lines and text know: CSV, Arrow, XML,
tar archives of samples ... whatever `datasets` loads without code of a repository.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from infra.stage import StageError


def read_rows(
    local: Path, name: str, module: str, options: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """The rows of one local file as `datasets` streams them with its builder `module`.

    `name` is the file's own name, by whose ending `datasets` knows how it is compressed.
    """
    import datasets

    with tempfile.TemporaryDirectory() as folder, _quiet():
        link = Path(folder) / Path(name).name
        link.symlink_to(local.resolve())
        try:
            rows = datasets.load_dataset(
                module,
                data_files={"train": [str(link)]},
                split="train",
                streaming=True,
                cache_dir=folder,
                **options,
            )
        except (TypeError, ValueError) as error:
            raise StageError(
                f"{name}: `datasets` cannot load it as {module} with {dict(options)} ({error}); "
                "choose other files with data_files"
            ) from None
        if rows.features is not None:
            rows = rows.decode(False) if hasattr(rows, "decode") else rows
        yield from rows


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    from datasets.utils import disable_progress_bars, enable_progress_bars

    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
