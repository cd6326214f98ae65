"""Stage pii: edits that mask e-mail addresses, IP addresses and phone numbers in documents.

    email   as FineWeb masks them (datatrove's PIIFormatter)
    ip      public addresses only, as FineWeb does: those that Python's `ipaddress` calls global,
            IPv4 and IPv6 (of the global unicast range, 2000::/3). Unlike FineWeb, four numbers with
            dots are not an address if more numbers follow, nor if all are below 100, as versions
            and sections are, and nothing around them speaks of addresses.
    phone   numbers with a country code ("+49 30 ...", "0049 30 ...") that are valid in that
            country's numbering plan (libphonenumber). Numbers as they are written within a country
            ("030 901820", "(650) 253-0000"), of the regions in which a document's language is
            spoken or of those that `phone_regions` states: a number in one country is a part number
            or a date in another. They follow a word such as "Tel.", or look like nothing else
            (`tasks.pii.national`).

Text is read after the edits of line_dedup. Edits apply when select writes the text; deduplication,
language models and other annotators read it unmasked, so a changed mask reruns only select and what
follows. Edits never apply to prompts: values in prompts are counted (`in_prompts`).

Equal values in a document get equal replacements: its first value gets the first of the list, the
next different one the second, and so on, starting again at the end of the list.

Output: data/part-*.parquet, row-aligned with the documents, column `edits`
(`tasks.documents.edits`) with the reasons "pii.email", "pii.ip" and "pii.phone".
"""

from __future__ import annotations

from typing import Literal

import pydantic

from infra.stage import Output, Parameters, Stage
from tasks.documents.roles import DOCUMENTS, EDITS, EDITS_TYPE, columns_of

Kind = Literal["email", "ip", "phone"]


class PiiReplacements(Parameters):
    """What replaces each kind; a token such as "<EMAIL>" works too.

    The defaults belong to nobody: domains reserved by RFC 2606, addresses by RFC 5737 and RFC 3849,
    a telephone number reserved for fiction.
    """

    email: tuple[str, ...] = pydantic.Field(
        default=("email@example.com", "firstname.lastname@example.org"), min_length=1
    )
    ip: tuple[str, ...] = pydantic.Field(
        default=("192.0.2.1", "198.51.100.1", "203.0.113.1"), min_length=1
    )
    ipv6: tuple[str, ...] = pydantic.Field(default=("2001:db8::1",), min_length=1)
    phone: tuple[str, ...] = pydantic.Field(default=("+1 202 555 0100",), min_length=1)


BY_LANGUAGE: Literal["language"] = "language"


class PiiParameters(Parameters):
    """Which kinds are masked, and by what.

    `phone_regions`: the regions (ISO 3166, such as US, DE, CN) whose phone numbers are masked where
    they stand without a country code. "language" means those of each document's language, which
    stage langid finds; an empty list, none.
    """

    phone_regions: Literal["language"] | tuple[str, ...] = BY_LANGUAGE
    kinds: tuple[Kind, ...] = pydantic.Field(default=("email", "ip", "phone"), min_length=1)
    replacements: PiiReplacements = PiiReplacements()

    @pydantic.field_validator("phone_regions", mode="before")
    @classmethod
    def _one_region(cls, value: object) -> object:
        return [value] if isinstance(value, str) and value != BY_LANGUAGE else value

    @pydantic.field_validator("phone_regions")
    @classmethod
    def _known_regions(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if value == BY_LANGUAGE or not value:
            return value
        from phonenumbers import SUPPORTED_REGIONS

        regions = tuple(dict.fromkeys(region.upper() for region in value))
        for region in regions:
            if region not in SUPPORTED_REGIONS:
                other = {"UK": "GB", "EN": "GB or US", "JA": "JP", "ZH": "CN", "KO": "KR"}
                near = f" (did you mean {other[region]}?)" if region in other else ""
                raise ValueError(
                    f"phone_regions: {region!r} is no region with phone numbers{near}; name ISO "
                    "3166 codes of two letters, such as US, DE or CN, or say language"
                )
        return regions

    @pydantic.field_validator("kinds")
    @classmethod
    def _in_order(cls, kinds: tuple[Kind, ...]) -> tuple[Kind, ...]:
        known: tuple[Kind, ...] = ("email", "ip", "phone")
        return tuple(kind for kind in known if kind in kinds)


STAGE = Stage(
    "pii",
    version=3,
    parameters=PiiParameters,
    run="tasks.pii.run:run",
    summary="edits that mask e-mail addresses, IP addresses and phone numbers",
    section="sources.*.pii",
    inputs=(DOCUMENTS, EDITS, columns_of("langid")),
    outputs=(Output("part-*.parquet", "row-aligned with the documents", {"edits": EDITS_TYPE}),),
)
