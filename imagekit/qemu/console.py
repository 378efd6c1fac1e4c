"""What a guest prints, made safe to read: lines without escape sequences and control characters.

A guest's console is untrusted text. A terminal obeys it (titles, colours, answers to queries), so nothing of it is
shown or kept before it went through here; only `--console` passes it on as it is.

Grammar: ECMA-48 control sequences (CSI: 5.4; OSC, DCS, SOS, PM, APC strings: 8.3). Firmware writes its messages at
screen positions instead of in lines, so a cursor position (CUP, 8.3.21) ends a line here.
"""

from __future__ import annotations

import re
import unicodedata

LINE_LIMIT = 4096  # bytes of one line; what is beyond is dropped

_HARMFUL = ("Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp")  # Unicode general categories

_CURSOR_POSITION = re.compile(rb"\x1b\[[0-9;]*[Hf]")
_ESCAPES = re.compile(
    rb"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI
    rb"|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?"  # OSC, DCS, SOS, PM, APC, up to BEL or ST
    rb"|\x1b[ -/]*[0-~]?"  # two- and three-byte escapes, and a bare ESC
)


def clean(text: str) -> str:
    """`text` without control, format (bidirectional among them) and private characters; tabs become spaces."""
    kept = (" " if char == "\t" else char for char in text)
    return "".join(char for char in kept if unicodedata.category(char) not in _HARMFUL)


def clean_line(raw: bytes) -> tuple[str, ...]:
    """The readable lines in one raw line; bytes that are not UTF-8 are written as `\\xNN`."""
    pieces = _CURSOR_POSITION.sub(b"\n", raw).split(b"\n")
    texts = (clean(_ESCAPES.sub(b"", piece).decode("utf-8", "backslashreplace")).rstrip() for piece in pieces)
    return tuple(text for text in texts if text)


class LineSplitter:
    """Cuts a byte stream into lines; holds back what has no end yet."""

    def __init__(self, limit: int = LINE_LIMIT) -> None:
        self._limit = limit
        self._held = b""

    @property
    def held(self) -> bytes:
        """The unfinished line."""
        return self._held

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without their ends. A line over the limit is cut to it."""
        *ended, rest = data.split(b"\n")
        lines = []
        for piece in ended:
            lines.append((self._held + piece)[: self._limit].rstrip(b"\r"))
            self._held = b""
        self._held = (self._held + rest)[: self._limit]
        return lines

    def flush(self) -> list[bytes]:
        """The unfinished line, as if it had ended."""
        held, self._held = self._held.rstrip(b"\r"), b""
        return [held] if held else []
