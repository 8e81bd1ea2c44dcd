"""Which hosts a read may go to. A name is looked up once, and what it meant then is connected to."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

from bulkup.light_dataclass import dataclass
from bulkup.sources.places.place import Unreachable

__all__ = ["Host", "is_loopback", "looked_up"]


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
    if is_loopback(name):
        return True
    address = _address(name)
    return address is not None and not address.is_global


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(name.partition("%")[0].strip("[]"))
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address
