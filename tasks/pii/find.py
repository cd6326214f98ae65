"""Where a text has e-mail addresses, public IP addresses and phone numbers.

Each kind has a cheap pattern for candidates and a check of what it found:

    email   around every "@": the domain is matched after it, the local part before it (RFC 5322
            without quotes and comments, as in datatrove's PIIFormatter)
    ip      four numbers up to 255 with dots, or groups of hexadecimal digits that begin with 2 or
            3; `ipaddress` says whether the address is global. Four numbers below 100 are a version
            or a section (5.3.6.61), unless the text speaks of addresses
    phone   a plus sign or 00, a country code and 7 to 15 digits with at most three blanks, dots,
            hyphens, brackets or slashes between two of them; libphonenumber says whether the number
            is valid in its country. Numbers without a country code, of given regions, as
            `tasks.pii.national` finds them. Digits may be of full width, Arabic or Devanagari

Where two kinds overlap, the earlier in the list stays.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import phonenumbers

from tasks.pii.digits import in_ascii
from tasks.pii.national import national_numbers
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

_IPV4_CANDIDATE = re.compile(rf"(?<![\w.-])(?<!\d,)(?<!\w/){_IPV4}(?![\w-]|\.\w)", re.ASCII)
_IPV6_CANDIDATE = re.compile(
    r"(?<![\w:.])[23][0-9A-Fa-f]{3}:(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{0,4}(?![\w:])"
)
_SMALL = 100
_NETWORK = re.compile(
    r"\b(?:ip|ips|ipv4|address|addresses|addr|server|servers|dns|host|hosts|ping|proxy|gateway|"
    r"subnet|router|whois|login|logged)\b|адрес|сервер|服务器|地址|伺服器|アドレス|サーバ|عنوان",
    re.IGNORECASE,
)
_BEFORE_CHARACTERS, _BEHIND_CHARACTERS = 60, 20
_PORT = re.compile(r":\d{2,5}\b")
_PHONE_CANDIDATE = re.compile(
    r"(?<![\w+.,/=$€£¥#-])(?:\+|00)[1-9]"
    r"(?:[ \u00a0\u2009\u202f.()/\u2010\u2011\u2013-]{0,3}\d){6,14}+(?!\d)",
    re.ASCII,
)


_GAP = re.compile(r"(?<=\d)\D+(?=\d)")


class Match(NamedTuple):
    """Characters [start, end) hold a value of a kind; `ipv6` tells the two kinds of IP apart."""

    start: int
    end: int
    kind: Kind
    value: str
    ipv6: bool = False


def find(text: str, kinds: Collection[Kind], regions: Sequence[str] = ()) -> list[Match]:
    """The matches in a text, ascending and disjoint; `regions` are those whose phone numbers are
    looked for without a country code too.
    """
    found = list(emails(text)) if "email" in kinds else []
    if "ip" in kinds:
        found += [match for match in addresses(text) if not _overlaps(match, found)]
        found.sort()
    if "phone" in kinds:
        # Between the others, so that an address behind a phone number is not read as part of it.
        plain = in_ascii(text)
        found += [
            match._replace(value=text[match.start : match.end])
            for span in _between(found, text)
            for match in phones(plain, *span)
        ]
        if regions:
            found.sort()
            ends = {match.end for match in found if match.kind == "phone"}
            found += [
                Match(start, end, "phone", text[start:end])
                for span in _between(found, text)
                for start, end in national_numbers(plain, regions, *span, span[0] in ends)
            ]
    return sorted(found)


def _between(found: list[Match], text: str) -> list[tuple[int, int]]:
    """The spans of a text around and between matches."""
    starts = [0, *(match.end for match in found)]
    ends = [*(match.start for match in found), len(text)]
    return list(zip(starts, ends, strict=True))


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
        if _is_global(candidate[0]) and (_is_large(candidate[0]) or _in_network(text, candidate)):
            yield Match(start, candidate.end(), "ip", candidate[0])
    if "::" in text or text.count(":") >= 7:
        for candidate in _IPV6_CANDIDATE.finditer(text):
            if _is_global(candidate[0]):
                yield Match(*candidate.span(), "ip", candidate[0], ipv6=True)


def _is_large(address: str) -> bool:
    """Whether a number is too large for a version's or a section's; 97.7 % of addresses are."""
    return max(map(int, address.split("."))) >= _SMALL


def _in_network(text: str, candidate: re.Match[str]) -> bool:
    """Whether the words around, a scheme before or a port behind speak of an address."""
    start, end = candidate.span()
    around = text[max(0, start - _BEFORE_CHARACTERS) : end + _BEHIND_CHARACTERS]
    in_url = text.endswith("://", 0, start) or _PORT.match(text, end) is not None
    return in_url or _NETWORK.search(around) is not None


def _is_global(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:  # a leading zero, or not what it looked like
        return False
    return parsed.is_global and not parsed.is_multicast


def phones(text: str, begin: int = 0, end_of_search: int | None = None) -> Iterator[Match]:
    """Phone numbers with a country code, valid in that country, in a part of the text."""
    limit = len(text) if end_of_search is None else end_of_search
    if text.find("+", begin, limit) < 0 and text.find("00", begin, limit) < 0:
        return
    done = begin
    while candidate := _PHONE_CANDIDATE.search(text, done, limit):
        start, end = candidate.span()
        done = end
        # Another number may follow, so the longest valid beginning is the phone number.
        ends = [end, *(start + gap.start() for gap in reversed(list(_GAP.finditer(candidate[0]))))]
        for stop in ends:
            if _is_phone(text[start:stop]):
                yield Match(start, stop, "phone", text[start:stop])
                done = stop
                break


def _is_phone(value: str) -> bool:
    try:
        parsed = phonenumbers.parse(re.sub("^00", "+", value))
    except phonenumbers.NumberParseException:
        return False
    return phonenumbers.is_valid_number(parsed)
