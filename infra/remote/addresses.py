"""Whether a host is on the public internet: a redirect must not lead from there into a private
network.
"""

from __future__ import annotations

import ipaddress
import socket

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_EMBEDDING = tuple(
    map(ipaddress.IPv6Network, ("::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "::/96"))
)
"""Prefixes whose last four bytes are an IPv4 address: mapped, translated (RFC 2765), through NAT64
(RFC 6052), compatible.
"""

_NAT64_WITHIN = ipaddress.IPv6Network("64:ff9b:1::/48")
_CREDENTIALS = frozenset(
    map(
        ipaddress.ip_address,
        ("fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
    )
)
"""Where clouds serve a machine's credentials besides 169.254.169.254: AWS, Alibaba, Azure, Oracle.
"""


def is_public(address: str) -> bool:
    """Whether an IP address is routed on the public internet (so no loopback, private, link-local,
    multicast, or one that holds such an IPv4 address).
    """
    try:
        found = _plain(address)
    except ValueError:
        return False
    if found in _CREDENTIALS or found in _NAT64_WITHIN:
        return False
    return found.is_global and not found.is_multicast


def _plain(address: str) -> _Address:
    """An address, or the IPv4 address within it. Raises `ValueError`."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.sixtofour is not None:
            return found.sixtofour
        if any(found in network for network in _EMBEDDING) and int(found) > 1:  # ::1 is itself
            return ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
    return found


def leads_to_private(host: str) -> bool:
    """Whether a host name or address leads to any address that is not public. A name that cannot be
    resolved leads nowhere.
    """
    name = host.strip("[]")
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(name, None)}
    except (OSError, UnicodeError):
        return name.lower() == "localhost"
    return not all(map(is_public, found))


def leads_to_link_local(host: str) -> bool:
    """Whether a host leads to a link-local address or another one where clouds serve a machine's
    credentials (169.254.169.254, fe80::).
    """
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host.strip("[]"), None)}
    except (OSError, UnicodeError):
        return False
    plain = {_plain(address) for address in found}
    return any(ip.is_link_local or ip in _CREDENTIALS for ip in plain)
