"""Addresses that no setting may send a request to, because what answers there hands out credentials.

Clouds serve a machine's own credentials over plain HTTP on a link-local address; a `base_url` or a webhook that names it turns this program
into its messenger (server-side request forgery, OWASP API7:2023). Loopback and private networks are not refused: local LLM servers are there.
"""

import ipaddress
import socket
import unicodedata
from urllib.parse import urlsplit

_NAMES = frozenset({"metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"})
_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        ("100.100.100.200", "192.0.0.192", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254"),  # Alibaba, Oracle, Azure, AWS, Google
    )
)

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def why_refused(url: str, *, resolve: bool = False) -> str | None:
    """Why nothing may be sent to this URL, or None where it may.

    Args:
        url: http or https.
        resolve: Look its name up as well, and refuse it where one of its addresses is refused. Between this look and the request the name
            may come to mean another address; an egress rule of the network is what closes that gap.
    """
    try:
        parts = urlsplit(url)
        # full-width digits and dots are plain ones to a resolver (UTS 46)
        host = unicodedata.normalize("NFKC", parts.hostname or "").replace("\u3002", ".").rstrip(".").lower()
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return "it is no URL"
    if parts.scheme not in ("http", "https") or not host:
        return "it does not begin with http:// or https:// and a host"
    if any(character.isspace() or not character.isprintable() for character in url):
        return "it holds blanks or control characters"
    if host in _NAMES:
        return f"{host} is where a cloud hands out a machine's credentials"
    addresses = [found] if (found := _literal(host)) is not None else _looked_up(host, port) if resolve else []
    return next((f"{host} is {found}, {said}" for found in addresses if (said := _why(found)) is not None), None)


def _literal(host: str) -> Address | None:
    """The address that a host spells out, in any of the ways that resolvers take: 169.254.169.254, 2852039166, 0xA9FEA9FE, 0251.0376..."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError, UnicodeEncodeError):
        return None


def _looked_up(host: str, port: int) -> list[Address]:
    """Every address of a name; none where it can't be looked up, which the request itself will say."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


def _why(address: Address) -> str | None:
    address = _within(address)
    if address.is_link_local or address in _METADATA:
        return "where a cloud hands out a machine's credentials"
    if address.is_multicast or address.is_unspecified:
        return "which is no single machine"
    return None


def _within(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for: mapped, 6to4 (RFC 3056), NAT64 (RFC 6052), compatible (RFC 4291)."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if (other := address.ipv4_mapped or address.sixtofour) is not None:
        return other
    embeds = address in _NAT64 or (int(address) >> 32 == 0 and int(address) > 1)
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if embeds else address
