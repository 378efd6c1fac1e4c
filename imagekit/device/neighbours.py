"""Whether a neighbour on a link answers, by the kernel's own table of neighbours (ARP, and NDP for IPv6).

Two messages ask for it: one has the kernel look for the neighbour, as it does before it sends a packet there, and the
other reads what came of that. So nothing goes out that a firewall may drop, or that the neighbour has to answer at a
higher layer. Source: rtnetlink(7), linux/neighbour.h. In the machine's byte order:

    nlmsghdr  u32 length | u16 type | u16 flags | u32 sequence | u32 port
    ndmsg     u8 family | u8 0 | u16 0 | i32 interface | u16 state | u8 flags | u8 type
    rtattr    u16 length | u16 type | the neighbour's address
"""

from __future__ import annotations

import socket
import struct

_HEAD = struct.Struct("=IHHII")
_NEIGHBOUR = struct.Struct("=BBHiHBB")
_ATTRIBUTE = struct.Struct("=HH")
_NEW, _GET = 28, 30  # RTM_NEWNEIGH, RTM_GETNEIGH
_REQUEST, _ACK, _CREATE = 0x1, 0x4, 0x400
_USE = 0x1  # NTF_USE
_DESTINATION = 1  # NDA_DST
_ANSWERED = 0x02 | 0x40 | 0x80  # NUD_REACHABLE, NUD_NOARP, NUD_PERMANENT
_TIMEOUT_S = 5.0


def answers(interface: str, address: bytes) -> bool:
    """Whether the neighbour with this address (4 or 16 bytes) has answered of late; if not, it is asked.

    Raises:
        OSError: there is no such interface, or the kernel does not do as it is told.
    """
    number = socket.if_nametoindex(interface)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.settimeout(_TIMEOUT_S)
        kernel.send(_message(_NEW, _REQUEST | _ACK | _CREATE, number, address, flags=_USE))
        kernel.recv(65536)  # it has looked already, or will not
        kernel.send(_message(_GET, _REQUEST, number, address))
        return _state(kernel.recv(65536)) & _ANSWERED != 0


def _message(kind: int, how: int, interface: int, address: bytes, *, flags: int = 0) -> bytes:
    family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
    body = (_NEIGHBOUR.pack(family, 0, 0, interface, 0, flags, 0)
            + _ATTRIBUTE.pack(_ATTRIBUTE.size + len(address), _DESTINATION) + address)
    return _HEAD.pack(_HEAD.size + len(body), kind, how, 1, 0) + body


def _state(raw: bytes) -> int:
    """The state in the kernel's answer; 0 where it has no such neighbour."""
    if _HEAD.unpack_from(raw)[1] != _NEW:
        return 0
    state: int = _NEIGHBOUR.unpack_from(raw, _HEAD.size)[4]
    return state
