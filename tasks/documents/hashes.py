"""Columns of hashes: their types, and how they are stored.

Hashes are random bits: a dictionary of them is as long as the column, and zstd cannot compress
them, so both would only cost time. Columns of unsigned integers and of fixed-size bytes are
therefore written plain and uncompressed, all others as usual.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from tasks.documents.schema import COMPRESSION
from tasks.text.shingles import TEXT_HASH_BYTES

TEXT_HASH = pa.binary(TEXT_HASH_BYTES)
SHINGLE_SET = pa.list_(pa.uint32())


def signature_type(size: int) -> pa.DataType:
    """Type of a column of MinHash signatures of `size` values."""
    return pa.list_(pa.uint64(), size)


def parquet_options(schema: pa.Schema) -> dict[str, Any]:
    """Options of `pq.ParquetWriter` for `schema`, see the module's docstring."""
    leaves = [leaf for field in schema for leaf in _leaves(field.name, field.type)]
    if not any(_is_hash(type_) for _, type_ in leaves):
        return {"compression": COMPRESSION}
    return {
        "compression": {path: "none" if _is_hash(type_) else COMPRESSION for path, type_ in leaves},
        "use_dictionary": [path for path, type_ in leaves if not _is_hash(type_)],
    }


def _leaves(path: str, type_: pa.DataType) -> Iterator[tuple[str, pa.DataType]]:
    """(Parquet column path, type) of every leaf below a field."""
    if (
        pa.types.is_list(type_)
        or pa.types.is_fixed_size_list(type_)
        or pa.types.is_large_list(type_)
    ):
        yield from _leaves(f"{path}.list.element", type_.value_type)
    elif pa.types.is_struct(type_):
        for field in type_:
            yield from _leaves(f"{path}.{field.name}", field.type)
    else:
        yield path, type_


def _is_hash(type_: pa.DataType) -> bool:
    return bool(pa.types.is_unsigned_integer(type_) or pa.types.is_fixed_size_binary(type_))
