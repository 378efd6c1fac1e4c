"""What is compared: a case has a request for the oracle and a judgement of ours, and they agree or they do not.

A judgement is accepted with what was understood, or refused with words and, where our format has them, the ids of the
rules. Two that accept must also have understood the same; every field that differs is a disagreement of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from imagekit.errors import ImagekitError
from imagekit.schema import DocumentProblems
from tests.oracle.ask import Answer, Oracle, Request
from tests.oracle.library import SUITES

MISSING = "(nothing)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """`understood` is what the document means, flat, as far as it is compared."""

    accepted: bool
    crashed: bool = False
    words: str = ""
    rules: tuple[str, ...] = ()
    understood: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One thing to ask both. `understand` makes the oracle's answer comparable with ours.

    A `second` question is about documents that were compared before: where snapd could not read them it says nothing.
    """

    kind: str
    name: str
    document: bytes
    request: Request
    judge: Callable[[], Judgement]
    understand: Callable[[Answer], Mapping[str, Any]] = lambda answer: {}
    second: bool = False
    suites: tuple[str, ...] = SUITES  # of the libraries that know what is asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """`accepts` is imagekit, snapd or both, whose `fields` then differ; or nobody, where imagekit crashed."""

    case: Case
    version: str
    accepts: str
    ours: Judgement
    theirs: str
    fields: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.accepts == "both":
            said = "; ".join(self.fields)
        elif self.accepts in ("snapd", "nobody"):
            said = f"we say {self.ours.words} {list(self.ours.rules)}"
        else:
            said = f"snapd says {self.theirs}"
        return f"{self.case.kind} {self.case.name} (snapd {self.version}): accepted by {self.accepts}; {said}"


def judged(act: Callable[[], Mapping[str, Any]]) -> Judgement:
    """Our judgement: what `act` understood, or why it refused; any other exception is a bug of ours."""
    try:
        return Judgement(accepted=True, understood=act())
    except DocumentProblems as error:
        return Judgement(accepted=False, words=" | ".join(map(str, error.problems)),
                         rules=tuple(sorted({problem.rule.id for problem in error.problems if problem.rule})))
    except ImagekitError as error:
        return Judgement(accepted=False, words=error.message)
    except Exception as error:  # shown with the document that does it, and listed nowhere
        return Judgement(accepted=False, crashed=True, words=f"{type(error).__name__}: {error}")


def differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted({*ours, *theirs}):
        mine, other = ours.get(name, MISSING), theirs.get(name, MISSING)
        if mine != other:
            yield f"{name}: {mine!r} here, {other!r} there"


def compare(oracle: Oracle, cases: Iterable[Case]) -> list[Disagreement]:
    """Every disagreement over `cases`."""
    asked = [case for case in cases if oracle.suite in case.suites]
    found = []
    for case, answer in zip(asked, oracle.ask_all([case.request for case in asked]), strict=True):
        if case.second and answer.get("read") is False:
            continue
        ours, accepted = case.judge(), answer["verdict"] == "accepted"
        theirs = str(answer.get("error", ""))
        if ours.accepted != accepted or ours.crashed:
            accepts = "nobody" if ours.crashed else "snapd" if accepted else "imagekit"
            found.append(Disagreement(case=case, version=oracle.version, accepts=accepts, ours=ours, theirs=theirs))
        elif accepted and (fields := tuple(differing(ours.understood, case.understand(answer)))):
            found.append(Disagreement(case=case, version=oracle.version, accepts="both", ours=ours, theirs=theirs,
                                      fields=fields))
    return found
