"""Whether this device has a network, and whether this boot needs one to be healthy.

Decides what "there" means: a default route, of IPv4 or IPv6, through an interface with carrier, whose gateway answers
when the kernel looks for it on the link; one without a gateway, as on a modem, needs the carrier only. Nothing behind
the gateway is asked: a store, a name server or a site's line that is down says nothing about a slot, and shall take no
good update back.

It makes a boot unhealthy only where the model demands it (`imagekit.plan.policy`), on trial, with a slot to go back to.
A confirmed slot without a network would only change places with the other one, for ever. A trial that cannot read this
device's model is none to keep: no update could follow it.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from imagekit.boot.health import Check
from imagekit.device.machine import Machine
from imagekit.device.report import BootReport
from imagekit.device.state import StatePartition
from imagekit.errors import ImagekitError, TargetError

WAIT_S = 120.0  # a switch forwards after 50 s at most (802.1D), then comes the lease
_PAUSE_S = 1.0
_UP, _GATEWAY, _REJECT = 0x1, 0x2, 0x200  # RTF_*, linux/route.h
_ANY = "0" * 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A default route. `gateway`: its 4 or 16 bytes; empty: whatever is sent to the interface goes."""

    interface: str
    gateway: bytes

    def __str__(self) -> str:
        family = socket.AF_INET if len(self.gateway) == 4 else socket.AF_INET6
        return self.interface + (f", gateway {socket.inet_ntop(family, self.gateway)}" if self.gateway else "")


def check_network(machine: Machine, report: BootReport, *, wait_s: float = WAIT_S) -> Check:
    """Wait for the network where this boot needs it; elsewhere tell how it is now, and ask nobody."""
    try:
        needed = _is_trial(report) and _is_demanded(machine)
    except ImagekitError as error:
        return Check(name="network", ok=False, detail=f"cannot tell whether the model demands it: {error.message}")
    if not needed:
        told = "; ".join(map(str, _with_carrier(machine))) or "no default route with carrier"
        return Check(name="network", ok=True, detail=f"not demanded of this boot: {told}")
    end = time.monotonic() + wait_s
    while not (way := _answering(machine)):
        if time.monotonic() >= end:
            return Check(name="network", ok=False, detail=f"not there for {wait_s:g} s: {_reason(machine)}")
        time.sleep(_PAUSE_S)
    return Check(name="network", ok=True, detail=str(way))


def _is_trial(report: BootReport) -> bool:
    """Whether a slot that was never healthy runs, and the other one was. Where nothing tells, nothing is confirmed."""
    with suppress(TargetError):
        state = StatePartition(device=report.state_device).load()
        return state is not None and state.slot is report.slot and not state.confirmed and state.other_good
    return False


def _is_demanded(machine: Machine) -> bool:
    """By the signed model that this device goes by. Raises: ImagekitError: it cannot be read or believed."""
    from imagekit.device.anchors import own_anchors
    from imagekit.plan.policy import model_policy

    anchors = own_anchors(machine)
    anchors.database.verify(anchors.model.assertion, now=anchors.model.timestamp)
    return model_policy(anchors.model).needs_network


def _answering(machine: Machine) -> Way | None:
    for way in _with_carrier(machine):
        with suppress(OSError):
            if not way.gateway or machine.answers(way.interface, way.gateway):
                return way
    return None


def _reason(machine: Machine) -> str:
    """What is missing where no way answers."""
    mute = [f"{way} does not answer" for way in _with_carrier(machine)]
    return "; ".join(mute or [f"{way} has no carrier" for way in _ways(machine)]) or "no default route"


def _with_carrier(machine: Machine) -> Iterator[Way]:
    for way in _ways(machine):
        with suppress(OSError):  # of an interface that is down
            if (machine.sys / "class/net" / way.interface / "carrier").read_text().strip() == "1":
                yield way


def _ways(machine: Machine) -> Iterator[Way]:
    """The default routes that the kernel lists; a family that it does not have lists none."""
    with suppress(OSError):
        for line in (machine.proc / "net/route").read_text().splitlines()[1:]:
            interface, target, gateway, flags, _, _, _, mask = line.split()[:8]
            if target == mask == "00000000" and _leads_on(interface, int(flags, 16)):
                found = struct.pack("=I", int(gateway, 16)) if int(flags, 16) & _GATEWAY else b""
                yield Way(interface=interface, gateway=found)
    with suppress(OSError):
        for line in (machine.proc / "net/ipv6_route").read_text().splitlines():
            target, length, _, _, gateway, _, _, _, flags, interface = line.split()
            if target == _ANY and length == "00" and _leads_on(interface, int(flags, 16)):
                found = bytes.fromhex(gateway) if int(flags, 16) & _GATEWAY else b""
                yield Way(interface=interface, gateway=found)


def _leads_on(interface: str, flags: int) -> bool:
    return interface != "lo" and bool(flags & _UP) and not flags & _REJECT
