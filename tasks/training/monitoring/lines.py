"""Files of JSON lines that a resumed phase continues: metrics, evaluations, samples."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.io.files import replacing


class LineFile:
    """Appends lines to a file; those after `last_step`, and one that a kill cut short, are dropped
    first.

    `last`: the last line that was kept or written; None at the beginning. `reached`: the last step
    of which the file had a line, dropped or not; -1 for none.
    """

    def __init__(self, path: Path, last_step: int) -> None:
        self.last: dict[str, Any] | None = None
        self.reached = -1
        with replacing(path) as rewritten, rewritten.open("w", encoding="utf-8") as kept:
            if path.exists():
                with path.open(encoding="utf-8", errors="replace") as lines:
                    for line in lines:
                        with contextlib.suppress(ValueError):
                            values = json.loads(line)
                            self.reached = max(self.reached, values["step"])
                            if values["step"] <= last_step:
                                self.last = values
                                kept.write(line.rstrip("\n") + "\n")
        self._file = path.open("a", encoding="utf-8")

    def write(self, values: Mapping[str, Any]) -> None:
        """Append a line."""
        self._file.write(json.dumps(values, ensure_ascii=False) + "\n")
        self._file.flush()
        self.last = dict(values)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
