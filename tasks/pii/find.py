"""Where a text has e-mail addresses, public IP addresses and phone numbers.

Each kind has a cheap pattern for candidates and a check of what it found:

    email   around every "@": the domain is matched after it, the local part before it (RFC 5322
            without quotes and comments, as in datatrove's PIIFormatter)
    ip      four numbers up to 255 with dots, or groups of hexadecimal digits that begin with 2 or
            3; `ipaddress` says whether the address is global
    phone   a plus sign or 00, a country code and 7 to 15 digits with at most three blanks, dots,
            hyphens, brackets or slashes between two of them; libphonenumber says whether the number
            is valid in its country

Where two kinds overlap, the earlier in the list stays.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

import phonenumbers

from tasks.pii.stage import Kind

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_LOCAL = re.compile(rf"\b{_ATOM}+(?:\.{_ATOM}+)*$")
_NOT_LOCAL = re.compile(r"[^A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_OCTET = r"(?:25[0-5]|2[0-4]\d|[01]?\d?\d)"
_IPV4 = rf"(?:{_OCTET}\.){{3}}{_OCTET}"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)+{_LABEL}|\[{_IPV4}\]")
_MOST_LOCAL = 254
"""Characters before an "@" that are looked at: an address is no longer (RFC 5321)."""

_IPV4_CANDIDATE = re.compile(rf"(?<![\w.-])(?<!\d,){_IPV4}(?![\w-]|\.\w)", re.ASCII)
_IPV6_CANDIDATE = re.compile(
    r"(?<![\w:.])[23][0-9A-Fa-f]{3}:(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{0,4}(?![\w:])"
)
_VERSION = re.compile(
    r"(?:\b(?:v|ver|version|release|build|firmware|driver|sec|section|chapter|article|clause|para|"
    r"paragraph|table|figure|fig|eq|equation|appendix|rev|revision)[.:]?|§|№|версия|版本|バージョン)\s*$",
    re.IGNORECASE,
)
_BEFORE_CHARACTERS = 20
_PHONE_CANDIDATE = re.compile(
    r"(?<![\w+.,/=-])(?:\+|00)[1-9](?:[ \u00a0\u2009\u202f.()/\u2010\u2011\u2013-]{0,3}\d){6,14}(?![\w])",
    re.ASCII,
)


class Match(NamedTuple):
    """Characters [start, end) hold a value of a kind; `ipv6` tells the two kinds of IP apart."""

    start: int
    end: int
    kind: Kind
    value: str
    ipv6: bool = False


def find(text: str, kinds: Collection[Kind]) -> list[Match]:
    """The matches in a text, ascending and disjoint."""
    found: list[Match] = []
    for kind, finder in (("email", emails), ("ip", addresses), ("phone", phones)):
        if kind in kinds:
            found += [match for match in finder(text) if not _overlaps(match, found)]
    return sorted(found)


def _overlaps(match: Match, others: list[Match]) -> bool:
    return any(match.start < other.end and other.start < match.end for other in others)


def emails(text: str) -> Iterator[Match]:
    """E-mail addresses."""
    done = 0
    at = text.find("@")
    while at >= 0:
        domain = _DOMAIN.match(text, at + 1)
        if domain:
            low = max(done, at - _MOST_LOCAL)
            before = text[low:at]
            for stop in _NOT_LOCAL.finditer(before):
                low = max(low, at - len(before) + stop.end())
            if local := _LOCAL.search(text[low:at]):
                start = low + local.start()
                yield Match(start, domain.end(), "email", text[start : domain.end()])
                done = domain.end()
        at = text.find("@", max(at + 1, done))


def addresses(text: str) -> Iterator[Match]:
    """Public IP addresses, IPv4 and then IPv6."""
    for candidate in _IPV4_CANDIDATE.finditer(text):
        start = candidate.start()
        before = text[max(0, start - _BEFORE_CHARACTERS) : start]
        if _is_global(candidate[0]) and not _VERSION.search(before):
            yield Match(start, candidate.end(), "ip", candidate[0])
    if "::" in text or text.count(":") >= 7:
        for candidate in _IPV6_CANDIDATE.finditer(text):
            if _is_global(candidate[0]):
                yield Match(*candidate.span(), "ip", candidate[0], ipv6=True)


def _is_global(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:  # a leading zero, or not what it looked like
        return False


def phones(text: str) -> Iterator[Match]:
    """Phone numbers with a country code, valid in that country."""
    if "+" not in text and "00" not in text:
        return
    for candidate in _PHONE_CANDIDATE.finditer(text):
        value = candidate[0]
        number = value if value.startswith("+") else f"+{value.removeprefix('00')}"
        try:
            parsed = phonenumbers.parse(number)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(parsed):
            yield Match(*candidate.span(), "phone", value)
