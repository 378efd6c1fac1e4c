"""The regular expressions inside assertions: RE2's syntax, matched in time that is linear in the text.

Constraints of account-keys and rules of declarations hold patterns that come from outside, so a backtracking matcher
could be made to run for ever. Here a pattern becomes a nondeterministic automaton of at most `MAX_STATES` states, all
of which are followed at once. A pattern matches the whole text or not at all.

    alternation = sequence *( "|" sequence )
    sequence    = *( atom [ "*" | "+" | "?" | "{" n [ "," [ m ] ] "}" ] [ "?" ] )
    atom        = character | "." | class | "(" [ "?:" | "?P<" name ">" ] alternation ")" | "^" | "$" | escape
    class       = "[" [ "^" ] 1*( character [ "-" character ] | escape | "[:" name ":]" ) "]"

Not read, and refused: flags (`(?i)`), classes of Unicode properties (`\\pL`), word boundaries, `\\Q` and `\\C`.
Source: RE2's syntax (github.com/google/re2/wiki/Syntax), which Go's regexp and so snapd use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

MAX_STATES = 2000
MAX_PATTERN = 4096
MAX_NESTING = 100
MAX_REPEAT = 1000
MAX_STEPS = 2_000_000  # of one match; what takes longer does not match

Ranges = tuple[tuple[int, int], ...]  # of code points, both ends included
_LAST = 0x10FFFF
_DIGIT: Ranges = ((0x30, 0x39),)
_WORD: Ranges = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
_SPACE: Ranges = ((0x09, 0x0A), (0x0C, 0x0D), (0x20, 0x20))
_NAMED: dict[str, Ranges] = {
    "alnum": ((0x30, 0x39), (0x41, 0x5A), (0x61, 0x7A)), "alpha": ((0x41, 0x5A), (0x61, 0x7A)),
    "ascii": ((0, 0x7F),), "blank": ((0x09, 0x09), (0x20, 0x20)), "cntrl": ((0, 0x1F), (0x7F, 0x7F)),
    "digit": _DIGIT, "graph": ((0x21, 0x7E),), "lower": ((0x61, 0x7A),), "print": ((0x20, 0x7E),),
    "punct": ((0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E)), "space": ((0x09, 0x0D), (0x20, 0x20)),
    "upper": ((0x41, 0x5A),), "word": _WORD, "xdigit": ((0x30, 0x39), (0x41, 0x46), (0x61, 0x66)),
}
_CONTROL = {"a": 0x07, "f": 0x0C, "n": 0x0A, "r": 0x0D, "t": 0x09, "v": 0x0B}
_ANY: Ranges = ((0, 0x09), (0x0B, _LAST))


class PatternError(ValueError):
    """A pattern that RE2 does not have, or that is not read here."""


@dataclass(frozen=True, slots=True)
class _State:
    """Where the automaton may be: it reads a character in `ranges`, or goes on freely (`ranges` is None)."""

    ranges: Ranges | None
    after: tuple[int, ...]
    at: str = ""  # "^" and "$": goes on freely, but only there


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern. State 0 is the start; the last state is the end."""

    text: str
    states: tuple[_State, ...]

    def matches(self, text: str) -> bool:
        """Whether the whole `text` is one that the pattern describes; False too when that takes too long to tell."""
        size, steps = len(text), 0
        current = self._spread({0}, 0, size)
        for at, letter in enumerate(text):
            code = ord(letter)
            reached: set[int] = set()
            steps += len(current) + 1
            if not current or steps > MAX_STEPS:
                return False
            for number in current:
                state = self.states[number]
                if state.ranges is not None and any(low <= code <= high for low, high in state.ranges):
                    reached.update(state.after)
            current = self._spread(reached, at + 1, size)
        return len(self.states) - 1 in current

    def _spread(self, start: set[int], at: int, size: int) -> set[int]:
        """All states that are reached from `start` without reading."""
        seen, todo = set(start), list(start)
        while todo:
            state = self.states[todo.pop()]
            if state.ranges is not None or (state.at == "^" and at) or (state.at == "$" and at != size):
                continue
            fresh = [number for number in state.after if number not in seen]
            seen.update(fresh)
            todo.extend(fresh)
        return seen


def compile_pattern(text: str) -> Pattern:
    """Raises: PatternError: not a pattern, one that is not read here, or one too large."""
    if len(text) > MAX_PATTERN:
        raise PatternError(f"longer than {MAX_PATTERN} characters")
    return _Compiler(text).pattern()


def literal(text: str) -> bool:
    """Whether a pattern only describes itself."""
    return not set(text) & set("\\.+*?()|[]{}^$")


# A fragment is built towards the state that follows it, so it is a function from that state's number to its own start.
_Build = Callable[[int], int]


class _Compiler:
    """A recursive descent over the text; states are made from the end to the start."""

    def __init__(self, text: str) -> None:
        self._text, self._at, self._depth = text, 0, 0
        self._states: list[_State] = [_State(None, ())]  # number 0 is the end until they are turned around

    def pattern(self) -> Pattern:
        build = self._alternation()
        if self._at < len(self._text):
            raise PatternError("a ')' that nothing opens")
        start = self._add(_State(None, (build(0),)))
        last = len(self._states) - 1
        assert start == last
        turned = (_State(state.ranges, tuple(last - number for number in state.after), state.at)
                  for state in reversed(self._states))
        return Pattern(self._text, tuple(turned))

    def _add(self, state: _State) -> int:
        if len(self._states) >= MAX_STATES:
            raise PatternError(f"larger than {MAX_STATES} states")
        self._states.append(state)
        return len(self._states) - 1

    def _peek(self) -> str:
        return self._text[self._at:self._at + 1]

    def _take(self) -> str:
        if self._at == len(self._text):
            raise PatternError("it ends too early")
        self._at += 1
        return self._text[self._at - 1]

    def _alternation(self) -> _Build:
        parts = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            parts.append(self._sequence())
        if len(parts) == 1:
            return parts[0]
        return lambda end: self._add(_State(None, tuple(part(end) for part in parts)))

    def _sequence(self) -> _Build:
        parts: list[_Build] = []
        while self._peek() not in ("", "|", ")"):
            parts.append(self._repeated(self._atom()))

        def build(end: int) -> int:
            for part in reversed(parts):
                end = part(end)
            return end
        return build

    def _repeated(self, atom: _Build) -> _Build:
        bounds = self._bounds()
        if bounds is None:
            return atom
        if self._peek() == "?":  # the shortest match rather than the longest: the same whole texts
            self._at += 1
        if self._peek() and (self._peek() in "*+?" or self._bounds() is not None):
            raise PatternError("a repetition of a repetition")
        least, most = bounds
        return lambda end: self._repeat(atom, least, most, end)

    def _repeat(self, atom: _Build, least: int, most: int | None, end: int) -> int:
        if most is None:
            loop = self._add(_State(None, (end,)))
            self._states[loop] = _State(None, (atom(loop), end))
            end = loop
        else:
            for _ in range(most - least):
                end = self._add(_State(None, (atom(end), end)))
        for _ in range(least):
            end = atom(end)
        return end

    def _bounds(self) -> tuple[int, int | None] | None:
        """The repetition at the cursor, if there is one; braces that are none are letters."""
        simple = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(self._peek())
        if simple is not None:
            self._at += 1
            return simple
        close = self._text.find("}", self._at)
        if self._peek() != "{" or close < 0:
            return None
        least, comma, most = self._text[self._at + 1:close].partition(",")
        if not _digits(least) or (most and not _digits(most)):
            return None
        low, high = int(least), int(most) if most else None if comma else int(least)
        if low > MAX_REPEAT or (high is not None and not low <= high <= MAX_REPEAT):
            raise PatternError(f"a repetition of more than {MAX_REPEAT}, or one that ends before it begins")
        self._at = close + 1
        return low, high

    def _atom(self) -> _Build:
        letter = self._take()
        if letter == "(":
            return self._group()
        if letter in "^$":
            return lambda end: self._add(_State(None, (end,), letter))
        if letter in "*+?":
            raise PatternError(f"nothing to repeat before {letter!r}")
        ranges = (_ANY if letter == "." else self._class() if letter == "["
                  else self._escape() if letter == "\\" else ((ord(letter),) * 2,))
        return lambda end: self._add(_State(ranges, (end,)))

    def _group(self) -> _Build:
        if self._peek() == "?":
            name = self._text[self._at:self._text.find(">", self._at) + 1]
            if self._text.startswith("?:", self._at):
                self._at += 2
            elif name.startswith("?P<") and name[3:-1].isidentifier() and name.isascii():
                self._at += len(name)
            else:
                raise PatternError("flags and other special groups are not supported")
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise PatternError(f"nested deeper than {MAX_NESTING} levels")
        inner = self._alternation()
        if self._peek() != ")":
            raise PatternError("a '(' that nothing closes")
        self._at += 1
        self._depth -= 1
        return inner

    def _class(self) -> Ranges:
        inverted = self._peek() == "^"
        self._at += inverted
        found: list[tuple[int, int]] = []
        first = True
        while first or self._peek() != "]":
            first = False
            if self._text.startswith("[:", self._at):
                found.extend(self._named())
                continue
            low = self._member()
            if isinstance(low, tuple):
                found.extend(low)
                continue
            high: int | Ranges = low
            if self._peek() == "-" and self._text[self._at + 1:self._at + 2] not in ("", "]"):
                self._at += 1
                high = self._member()
            if isinstance(high, tuple) or high < low:
                raise PatternError("a range of characters that ends before it begins")
            found.append((low, high))
        self._at += 1
        return _inverted(tuple(found)) if inverted else tuple(found)

    def _named(self) -> Ranges:
        close = self._text.find(":]", self._at)
        name = self._text[self._at + 2:close] if close >= 0 else ""
        if name.removeprefix("^") not in _NAMED:
            raise PatternError("an unknown class of characters")
        self._at = close + 2
        return _inverted(_NAMED[name[1:]]) if name.startswith("^") else _NAMED[name]

    def _member(self) -> int | Ranges:
        letter = self._take()
        if letter != "\\":
            return ord(letter)
        ranges = self._escape()
        return ranges[0][0] if len(ranges) == 1 and ranges[0][0] == ranges[0][1] else ranges

    def _escape(self) -> Ranges:
        letter = self._take()
        if letter.lower() in "dws":
            ranges = {"d": _DIGIT, "w": _WORD, "s": _SPACE}[letter.lower()]
            return ranges if letter.islower() else _inverted(ranges)
        if letter == "x":
            return ((self._hexadecimal(),) * 2,)
        if letter in _CONTROL:
            return ((_CONTROL[letter],) * 2,)
        if letter.isascii() and not letter.isalnum():
            return ((ord(letter),) * 2,)
        raise PatternError(f"the escape \\{letter} is not supported")

    def _hexadecimal(self) -> int:
        close = self._text.find("}", self._at)
        braced = self._peek() == "{" and close > 0
        digits = self._text[self._at + 1:close] if braced else self._text[self._at:self._at + 2]
        if not digits or len(digits) < 2 - braced or len(digits) > 8 or set(digits) - set("0123456789abcdefABCDEF"):
            raise PatternError("\\x without hexadecimal digits")
        self._at += len(digits) + 2 * braced
        if int(digits, 16) > _LAST:
            raise PatternError("\\x beyond the last character")
        return int(digits, 16)


def _digits(text: str) -> bool:
    return bool(text) and len(text) <= 6 and text.isascii() and text.isdigit()


def _inverted(ranges: Ranges) -> Ranges:
    ordered = ((-1, -1), *sorted(ranges), (_LAST + 1, _LAST + 1))
    highest, gaps = -1, []
    for (_, high), (low, _) in pairwise(ordered):
        highest = max(highest, high)
        if low > highest + 1:
            gaps.append((highest + 1, low - 1))
    return tuple(gaps)
