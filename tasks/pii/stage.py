"""Stage pii: edits that mask e-mail addresses, IP addresses and phone numbers in documents.

    email   as FineWeb masks them (datatrove's PIIFormatter)
    ip      public addresses only, as FineWeb does: what Python's `ipaddress` calls global. IPv4, and
            IPv6 of the global unicast range 2000::/3. Beyond FineWeb, four numbers with dots are no
            address where they are part of more numbers or follow the word "version" or the like.
    phone   numbers with a country code ("+49 30 ...", "0049 30 ...") that are valid in that country's
            numbering plan (libphonenumber). National numbers are left: what is one in one country
            is an article number or a date in another.

Text is read after the edits of line_dedup. Edits apply when select writes the text; deduplication,
language models and the other annotators read it unmasked, so that a changed mask repeats nothing but
select and what follows. Edits never apply to prompts: what is in these is counted (`in_prompts`).

Equal values get equal replacements within a document: its first different value gets the first of
the list, the next one the second, in a circle.

Output: data/part-*.parquet, row-aligned with the documents, column `edits` (`tasks.documents.edits`)
with the reasons "pii.email", "pii.ip" and "pii.phone".
"""

from __future__ import annotations

from typing import Literal

import pydantic

from infra.stage import Output, Parameters, Stage
from tasks.documents.roles import DOCUMENTS, EDITS, EDITS_TYPE, columns_of

Kind = Literal["email", "ip", "phone"]


class PiiReplacements(Parameters):
    """What stands in the place of each kind; a token such as "<EMAIL>" is allowed too.

    By default values that are nobody's: domains of RFC 2606, addresses of RFC 5737 and RFC 3849, a
    number that is kept free for fiction.
    """

    email: tuple[str, ...] = pydantic.Field(
        ("email@example.com", "firstname.lastname@example.org"), min_length=1
    )
    ip: tuple[str, ...] = pydantic.Field(("192.0.2.1", "198.51.100.1", "203.0.113.1"), min_length=1)
    ipv6: tuple[str, ...] = pydantic.Field(("2001:db8::1",), min_length=1)
    phone: tuple[str, ...] = pydantic.Field(("+1 202 555 0100",), min_length=1)


class PiiParameters(Parameters):
    """Which kinds are masked, and by what."""

    kinds: tuple[Kind, ...] = pydantic.Field(("email", "ip", "phone"), min_length=1)
    replacements: PiiReplacements = PiiReplacements()

    @pydantic.field_validator("kinds")
    @classmethod
    def _in_order(cls, kinds: tuple[Kind, ...]) -> tuple[Kind, ...]:
        known: tuple[Kind, ...] = ("email", "ip", "phone")
        return tuple(kind for kind in known if kind in kinds)


STAGE = Stage(
    "pii",
    version=1,
    parameters=PiiParameters,
    run="tasks.pii.run:run",
    summary="edits that mask e-mail addresses, IP addresses and phone numbers",
    section="sources.*.pii",
    inputs=(DOCUMENTS, EDITS, columns_of("langid")),
    outputs=(Output("part-*.parquet", "row-aligned with the documents", {"edits": EDITS_TYPE}),),
)
