"""Is this boot the one that the model asks for, and healthy? Decided from one message of the guest, and nothing else.

A verdict counts when it repeats the nonce that this boot was given (so neither an old transcript nor another boot can
stand in), says healthy, and names the slot and the dm-verity roots that the image's signed revisions name. Everything
the guest says is a claim; its roots are worth something because the initrd mounts nothing else (the whole protocol:
docs/reference/health-protocol.md).

`judge` is the decision, a pure function; `Dialogue` is one boot's conversation: who may say what, and how often.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from imagekit.boot.health import LINE_MAX, Challenge, Hello, Verdict, decode_message, encode_message
from imagekit.errors import DocumentError
from imagekit.qemu.console import LineSplitter, clean

HELLOS_MAX = 8  # of one boot: the health service may be started again, but not for ever


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package at a revision, and the root of its dm-verity tree (64 hexadecimal digits)."""

    name: str
    revision: int
    root: str

    def __str__(self) -> str:
        return f"{self.name} revision {self.revision}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What the model asks for. `slot` None: either; `known`: whatever else is signed, to name a wrong root.

    `gadget` and `architecture` say which machine the image is for.
    """

    model: str
    kernel: Package
    base: Package
    gadget: str = ""
    architecture: str = ""
    slot: str | None = "a"
    known: tuple[Package, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The outcome of one boot. Without reasons it is healthy."""

    reasons: tuple[str, ...]
    verdict: Verdict | None

    @property
    def healthy(self) -> bool:
        return not self.reasons and self.verdict is not None


def judge(nonce: str | None, line: bytes, expectation: Expectation) -> Judgement:
    """Judge one line from the health port. `nonce`: what this boot was given, None if nothing yet."""
    if len(line) > LINE_MAX:
        return Judgement(reasons=(f"a line of more than {LINE_MAX} bytes on the health port",), verdict=None)
    try:
        message = decode_message(line)
    except DocumentError as error:
        return Judgement(reasons=(clean(error.message)[:500],), verdict=None)
    if not isinstance(message, Verdict):
        return Judgement(reasons=(f"a {type(message).__name__.lower()} where a verdict belongs",), verdict=None)
    reasons = []
    if nonce is None or message.nonce != nonce:
        reasons.append("the verdict does not repeat the nonce of this boot: it may belong to another")
    if not message.healthy:
        said = "; ".join(clean(reason)[:200] for reason in message.reasons[:10])
        reasons.append(f"the device says it is not healthy: {said or 'without a reason'}")
    if expectation.slot is not None and message.slot != expectation.slot:
        reasons.append(f"slot {message.slot or 'unknown'} came up, slot {expectation.slot} is expected")
    for part, root, wanted in (("base", message.base_root, expectation.base),
                               ("kernel", message.kernel_root, expectation.kernel)):
        if root != wanted.root:
            found = next((str(package) for package in expectation.known if package.root == root), f"root {root or '?'}")
            reasons.append(f"the {part} that runs is {found}, the model asks for {wanted}")
    return Judgement(reasons=tuple(reasons), verdict=message)


class Dialogue:
    """The health port during one boot."""

    def __init__(self, expectation: Expectation, new_nonce: Callable[[], str]) -> None:
        self._expectation = expectation
        self._new_nonce = new_nonce
        self._lines = LineSplitter(limit=LINE_MAX + 1)
        self._hellos = 0
        self._nonce: str | None = None
        self.boot_id: str | None = None
        self.judgement: Judgement | None = None

    def hear(self, data: bytes) -> bytes:
        """Take what came from the port; what comes back is to be sent to it."""
        answers = [self._hear(line) for line in self._lines.feed(data) if line]
        if self.judgement is None and len(self._lines.held) > LINE_MAX:
            self.judgement = judge(self._nonce, self._lines.held, self._expectation)
        return b"".join(answers)

    def _hear(self, line: bytes) -> bytes:
        if self.judgement is None and self._is_hello(line):
            self._hellos += 1
            if self._hellos <= HELLOS_MAX:
                self._nonce = self._new_nonce()
                return encode_message(Challenge(nonce=self._nonce))
            self.judgement = Judgement(reasons=(f"more than {HELLOS_MAX} hellos in one boot",), verdict=None)
        elif self.judgement is None:
            self.judgement = judge(self._nonce, line, self._expectation)
        else:
            self.judgement = Judgement(reasons=("the device spoke again after its verdict", *self.judgement.reasons),
                                       verdict=self.judgement.verdict)
        return b""

    def _is_hello(self, line: bytes) -> bool:
        try:
            message = decode_message(line)
        except DocumentError:
            return False
        if isinstance(message, Hello):
            self.boot_id = clean(message.boot_id)[:64]
            return True
        return False
