"""Machines on one machine: network namespaces on a bridge, whose cables can be pulled out and put back. Linux, as root.

What there is lives in namespaces of this process and of its children, so nothing is left behind, and nothing else is touched.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress

__all__ = ["DATABASE", "HUB", "Network", "why_not"]

HUB = "hub"
"""Where the harness itself is, with what all machines reach: the service and the database."""

DATABASE = "database"
"""The same under another address: a machine may be cut off from one of the two."""

_NEWNET = 0x40000000
_NOBODY = "02:00:00:00:00:fe"
"""A hardware address that nobody has: what is sent there goes nowhere, and nobody is told."""


def why_not() -> str | None:
    """Why there can be no such machines here; None where there can."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "network namespaces need root"
    try:
        done = subprocess.run(["unshare", "-n", "ip", "link", "add", "one", "type", "veth"], capture_output=True)
    except FileNotFoundError as error:
        return f"{error.filename} is not installed: apt-get install iproute2 util-linux"
    return f"no network namespaces here: {done.stderr.decode().strip()}" if done.returncode else None


class Network:
    """Puts this process into a namespace of its own (it must have one thread), and makes *machines* beside it."""

    def __init__(self, machines: Sequence[str]) -> None:
        self._numbers = {HUB: 1, DATABASE: 2, **{name: 11 + place for place, name in enumerate(machines)}}
        self._holders: dict[str, int] = {}
        libc = ctypes.CDLL(None, use_errno=True)
        self._enter = libc.setns
        if libc.unshare(_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        _ip(
            "link set lo up",
            "link add hub type bridge",
            *(f"addr add {self.address(one)}/24 dev hub" for one in (HUB, DATABASE)),
            f"link set hub address {_mac(1)} up",
        )
        for name in machines:
            self._add(name)

    def address(self, machine: str) -> str:
        """Where *machine* is."""
        return f"10.177.0.{self._numbers[machine]}"

    def enter(self, machine: str) -> None:
        """Have this process be on *machine* from now on: one that was forked for that."""
        fd = os.open(f"/proc/{self._holders[machine]}/ns/net", os.O_RDONLY)
        if self._enter(fd, _NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        os.close(fd)

    def pull(self, machine: str) -> None:
        """Pull *machine*'s cable out."""
        _ip(f"link set to-{machine} down")

    def put_back(self, machine: str) -> None:
        """Put *machine*'s cable back, and let it reach everybody again."""
        _ip(f"link set to-{machine} up")
        for other in self._numbers:
            if other != machine:
                self._know(machine, other, _mac(1 if other == DATABASE else self._numbers[other]))
                self._know(other, machine, _mac(self._numbers[machine]))

    def part(self, one: str, *others: str) -> None:
        """Have *one* and the *others* reach each other no more. Nobody is told."""
        for other in others:
            self._know(one, other, _NOBODY)
            self._know(other, one, _NOBODY)

    def close(self) -> None:
        """Give all machines back."""
        for pid in self._holders.values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def _add(self, name: str) -> None:
        number, (begun, told) = self._numbers[name], os.pipe()
        holder = os.fork()
        if holder == 0:
            ctypes.CDLL(None).unshare(_NEWNET)
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # it ends with the harness
            os.write(told, b"1")
            while True:
                signal.pause()
        os.read(begun, 1)
        os.close(begun)
        os.close(told)
        self._holders[name] = holder
        _ip(f"link add to-{name} type veth peer name eth0 netns {holder}", f"link set to-{name} master hub up")
        self._at(
            name,
            f"link set eth0 address {_mac(number)} up",
            f"addr add {self.address(name)}/24 dev eth0",
            "link set lo up",
        )

    def _know(self, who: str, other: str, address: str) -> None:
        if who == DATABASE:
            return  # its answers go the hub's way
        if who == HUB:
            _ip(f"neigh replace {self.address(other)} lladdr {address} dev hub nud permanent")
        else:
            self._at(who, f"neigh replace {self.address(other)} lladdr {address} dev eth0 nud permanent")

    def _at(self, machine: str, *commands: str) -> None:
        _ip(*commands, before=("nsenter", "--target", str(self._holders[machine]), "--net"))


def _mac(number: int) -> str:
    return f"02:00:00:00:00:{number:02x}"


def _ip(*commands: str, before: Sequence[str] = ()) -> None:
    subprocess.run([*before, "ip", "-batch", "-"], input="\n".join(commands).encode(), check=True, capture_output=True)
