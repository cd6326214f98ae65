"""Whether a host is on the public internet: a redirect must not lead from there into a private
network.
"""

from __future__ import annotations

import ipaddress
import socket


def is_public(address: str) -> bool:
    """Whether an IP address is routed on the public internet (so no loopback, private, link-local,
    multicast or mapped such one).
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if inner is not None:
            return is_public(str(inner))
    return found.is_global and not found.is_multicast


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
    """Whether a host leads to a link-local address, where clouds serve a machine's credentials
    (169.254.169.254, fe80::).
    """
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host.strip("[]"), None)}
    except (OSError, UnicodeError):
        return False
    parsed = (ipaddress.ip_address(address.partition("%")[0]) for address in found)
    return any((getattr(ip, "ipv4_mapped", None) or ip).is_link_local for ip in parsed)
