"""Writes a fastText classifier of chosen words, without training one.

`train_supervised` of the installed fastText 0.9.3 ends in "Encountered NaN" on some machines, and a
model of known weights makes the expected labels certain. The format is that of fastText's
`saveModel`, version 12.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

_MAGIC, _VERSION = 793_712_314, 12
_SOFTMAX, _SUPERVISED = 3, 3
_WEIGHT = 5.0


def write_classifier(path: Path, words_of: Mapping[str, str]) -> None:
    """Write a model of labels -> their words, separated by spaces; each word speaks for its label
    alone.
    """
    labels = list(words_of)
    words = {word: row for row, label in enumerate(labels) for word in words_of[label].split()}
    entries = [*((word, 0) for word in words), *((f"__label__{label}", 1) for label in labels)]
    size = len(labels)
    arguments = (size, 5, 1, 1, 5, 1, _SOFTMAX, _SUPERVISED, 0, 0, 0, 100)
    hidden = np.eye(size, dtype=np.float32)[list(words.values())] * _WEIGHT
    with path.open("wb") as stream:
        stream.write(struct.pack("<2i12id", _MAGIC, _VERSION, *arguments, 1e-4))
        stream.write(struct.pack("<3i2q", len(entries), len(words), size, len(entries), -1))
        for word, kind in entries:
            stream.write(word.encode() + b"\0" + struct.pack("<qb", 1, kind))
        for matrix in (hidden, np.eye(size, dtype=np.float32) * _WEIGHT):
            stream.write(struct.pack("<?2q", False, *matrix.shape))
            stream.write(matrix.tobytes())
