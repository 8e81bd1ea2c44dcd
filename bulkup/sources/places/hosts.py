"""Which hosts a read may go to. A name is looked up once, and what it meant then is connected to."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from bulkup.light_dataclass import dataclass
from bulkup.sources.places.place import Unreachable

__all__ = ["Host", "is_loopback", "looked_up"]

_NUMBERS = re.compile(r"[0-9][0-9a-fx.]*", re.ASCII | re.IGNORECASE)
_WITH_IPV4 = (IPv6Network("::/96"), IPv6Network("64:ff9b::/96"))
"""Addresses that end in one of IPv4: RFC 4291, 2.5.5.1, and RFC 6052."""

_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
"""RFC 8215."""


@dataclass(frozen=True, slots=True)
class Host:
    """A name and what it stands for. No *addresses*: a proxy looks it up."""

    name: str
    addresses: tuple[str, ...]

    @property
    def is_public(self) -> bool:
        """Whether it is out on the internet: no address of it is this machine's, or of a network that only its members reach."""
        if not self.addresses:
            return not _is_inner(self.name)
        return not any(map(_is_inner, self.addresses))


def looked_up(name: str, port: int) -> Host:
    """The host called *name*. Raises `Unreachable`."""
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unreachable(f"the name {name} is not found ({error})") from error
    return Host(name, tuple(dict.fromkeys(str(address[0]) for *_, address in found)))


def is_loopback(name: str) -> bool:
    """Whether *name* is this machine."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address(name)
    return address is not None and address.is_loopback


def _is_inner(name: str) -> bool:
    name = name.rstrip(".")
    return is_loopback(name) or any(map(_is_inner_address, _addresses_in(name)))


def _is_inner_address(address: IPv4Address | IPv6Address) -> bool:
    is_local = isinstance(address, IPv6Address) and (address.is_site_local or address in _LOCAL_NAT64)
    return is_local or address.is_multicast or not address.is_global


def _addresses_in(name: str) -> Iterator[IPv4Address | IPv6Address]:
    """The address that *name* spells in any way that a resolver takes, and those that it leads on to."""
    address = _address(name)
    if address is None and _NUMBERS.fullmatch(name):
        with suppress(OSError):
            address = IPv4Address(socket.inet_aton(name))  # 2130706433, 0x7f.1 and 0177.0.0.1 are 127.0.0.1
    if address is None:
        return
    yield address
    if isinstance(address, IPv6Address):
        yield from (inside for inside in (address.sixtofour, *(address.teredo or ())) if inside is not None)
        if any(address in net for net in _WITH_IPV4):
            yield IPv4Address(int(address) & 0xFFFFFFFF)


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(name.partition("%")[0].strip("[]"))
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address
