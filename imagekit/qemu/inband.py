"""The health dialogue between the lines of a console, where the machine has no port for it.

The guest asks and the host answers, never the other way round: a byte sent unasked could stop a boot loader. A message
that comes again had a mangled answer, so it gets the same one again and counts once; any other message goes to the
dialogue, which decides (`imagekit.qemu.judge`). A terminal line may echo what the host said: that is nobody's word.
Nothing is required of a line that is no whole frame.
"""

from __future__ import annotations

from imagekit.boot.frames import Joiner, decode_frame, encode_frames
from imagekit.boot.health import Receipt, encode_message
from imagekit.qemu.judge import Dialogue


class InBand:
    """One boot's dialogue over its console."""

    def __init__(self, dialogue: Dialogue) -> None:
        self._dialogue = dialogue
        self._joiner = Joiner()
        self._answers: dict[bytes, bytes] = {}
        self._said: set[bytes] = set()

    def hear(self, line: bytes) -> bytes | None:
        """Take one line; what is to be sent for it. None: it is an ordinary line."""
        frame = decode_frame(line)
        if frame is None:
            return None
        message = self._joiner.add(frame)
        if message is None or message in self._said:
            return b""
        if message not in self._answers:
            answer = self._answer(message)
            if not answer:
                return b""
            self._said.add(answer.rstrip(b"\n"))
            self._answers[message] = encode_frames(answer)
        return self._answers[message]

    def _answer(self, message: bytes) -> bytes:
        judged = self._dialogue.judgement is not None
        answer = self._dialogue.hear(message + b"\n")
        judgement = self._dialogue.judgement
        if judged or judgement is None or judgement.verdict is None:
            return answer
        return encode_message(Receipt(nonce=judgement.verdict.nonce))
