"""Which columns of a Parquet file `fields` means: names, also in structs and lists, and types."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from infra.stage import StageError
from tasks.ingest.fields import fields_of
from tasks.ingest.stage import JsonlFields

_NAMES_SHOWN = 24


class Columns(NamedTuple):
    """The columns (dotted paths) that hold a document's parts; "" for none."""

    text: tuple[str, ...]
    prompt: str = ""
    url: str = ""
    date: str = ""
    license: str = ""
    title: str = ""
    author: str = ""
    language: str = ""
    dump: str = ""
    category: str = ""

    def names(self) -> list[str]:
        """All of them."""
        return [name for name in (*self.text, *self[1:]) if name]


@dataclass(frozen=True)
class WrongColumns(StageError):
    """A column that `fields` names cannot be a document's part; says what there is."""

    parameter: str
    why: str

    def __str__(self) -> str:
        return f"fields.{self.parameter}: {self.why}"


def columns_of(schema: pa.Schema, fields: JsonlFields | None, *, strict: bool = True) -> Columns:
    """The columns that `fields` (or what is known of such columns) names in a file.

    Raises `WrongColumns` for a name that is not there, and for a column that is no text. Of url
    and date, names that the recipe does not state may be missing; without `strict`, all may.
    """
    given = fields_of(fields, schema.names)
    stated = fields.model_fields_set if fields and strict else set()
    texts = tuple(_column(schema, "text", name) for name in given.text)
    prompt = _column(schema, "prompt", given.prompt) if given.prompt else ""
    others = {}
    for parameter in _OPTIONAL:
        name = getattr(given, parameter)
        if not name or (parameter not in stated and not _fits(schema, parameter, name)):
            continue
        others[parameter] = _column(schema, parameter, name)
    return Columns(texts, prompt, **others)


_OPTIONAL = ("url", "date", "license", "title", "author", "language", "dump", "category")


def _fits(schema: pa.Schema, parameter: str, name: str) -> bool:
    """Whether a column that the recipe does not name is there, and is text (or a time)."""
    kind = type_at(schema, name)
    is_time = parameter == "date" and kind is not None and pa.types.is_temporal(kind)
    return kind is not None and (is_text(kind) or is_time)


def _column(schema: pa.Schema, parameter: str, name: str) -> str:
    kind = type_at(schema, name)
    there = leaf_names(schema)
    if kind is None and (count := there.count(name)) > 1:
        raise WrongColumns(parameter, f"{count} columns have the name {name!r}; rename all but one")
    if kind is None:
        close = difflib.get_close_matches(name, there, n=1, cutoff=0.6)
        near = f" (did you mean {close[0]!r}?)" if close else ""
        raise WrongColumns(parameter, f"there is no column {name!r}{near}; {_shown(there)}")
    if is_text(kind) or (parameter == "date" and pa.types.is_temporal(kind)):
        return name
    inside = [path for path in there if path.startswith(f"{name}.")]
    what = f"column {name!r} is {str(kind)[:120]}, which is no text"
    raise WrongColumns(parameter, f"{what}; {_shown(inside or there)}")


def _shown(names: Sequence[str]) -> str:
    rest = len(names) - _NAMES_SHOWN
    return "there are " + ", ".join([*names[:_NAMES_SHOWN], *[f"{rest} more"] * (rest > 0)])


def leaf_names(schema: pa.Schema) -> list[str]:
    """The names of all columns; of structs, and lists of them, of what is in them."""

    def names(field: pa.Field, prefix: str) -> Iterator[str]:
        name = prefix + field.name
        kind = field.type
        while _is_list(kind):
            kind = kind.value_type
        for inner in _fields_of(kind):
            yield from names(inner, f"{name}.")
        if not _fields_of(kind):
            yield name

    return [name for field in schema for name in names(field, "")]


def type_at(schema: pa.Schema, name: str) -> pa.DataType | None:
    """The type of a column, or of one in a struct; a list of it where it is in a list. None where
    there is none, or more than one of that name.
    """
    kind, is_listed = _walked(schema, name)
    return pa.list_(kind) if kind is not None and is_listed else kind


def _walked(schema: pa.Schema, name: str) -> tuple[pa.DataType | None, bool]:
    """(the type of a column, whether a list is on the way to it)."""
    fields, rest, is_listed = list(schema), name, False
    kind = None
    while rest:
        names = [field.name for field in fields]
        head, rest = (rest, "") if rest in names else _split(names, rest)
        if not head or names.count(head) > 1:
            return None, is_listed
        kind = fields[names.index(head)].type
        while rest and _is_list(kind):
            kind, is_listed = kind.value_type, True
            number, _, behind = rest.partition(".")
            rest = behind if number.isdigit() else rest
        fields = _fields_of(kind)
    return kind, is_listed


def _fields_of(kind: Any) -> list[pa.Field]:
    """The fields of a struct; none of other types."""
    return [kind.field(at) for at in range(kind.num_fields)] if pa.types.is_struct(kind) else []


def _split(names: Sequence[str], name: str) -> tuple[str, str]:
    """(a name that is there, the path below it)."""
    dot = len(name)
    while (dot := name.rfind(".", 0, dot)) > 0:
        if name[:dot] in names:
            return name[:dot], name[dot + 1 :]
    return "", ""


def is_text(kind: pa.DataType) -> bool:
    """Strings and bytes, also dictionary-encoded, and lists of them."""
    if pa.types.is_dictionary(kind):
        return is_string(kind.value_type)
    while _is_list(kind):
        kind = kind.value_type
    return is_string(kind)


def is_string(kind: pa.DataType) -> bool:
    """Strings and bytes."""
    return any(
        test(kind)
        for test in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_string_view,
            pa.types.is_binary,
            pa.types.is_large_binary,
            pa.types.is_binary_view,
            pa.types.is_fixed_size_binary,
        )
    )


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def projection(schema: pa.Schema, columns: Columns) -> list[str]:
    """The names by which Arrow reads these columns and no others; of what is in lists, the whole
    column.
    """
    names = columns.names()
    return list(
        dict.fromkeys(
            _split(schema.names, name)[0] if _walked(schema, name)[1] else name for name in names
        )
    )


def column_at(rows: pa.RecordBatch, name: str) -> pa.Array:
    """A column, or one in a struct: null where the struct is null."""
    names = rows.schema.names
    if name in names:
        return rows.column(name)
    head, rest = _split(names, name)
    found = rows.column(head)
    while rest:
        inner = [found.type.field(at).name for at in range(found.type.num_fields)]
        head, rest = (rest, "") if rest in inner else _split(inner, rest)
        found = pc.struct_field(found, [inner.index(head)])
    return found
