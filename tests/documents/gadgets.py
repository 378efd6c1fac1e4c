"""The documents of gadgets that break a rule: what is in their folders, and what a check says of them.

A folder is called after the rule, with `--` and a word where a rule has several. It holds the document, `error.txt`
with the exact words, and where needed `rules.txt` (the generation it is checked for), `files.txt` (lines PATH SIZE: the
files of the gadget), or `more.json` (a text, and how often it is appended: for documents that are large).
"""

from __future__ import annotations

import json
from pathlib import Path

from imagekit.build.gadget_check import CheckedGadget, check_gadget_tree
from imagekit.build.package_tree import FoundTree, Kind
from imagekit.gadget.rulebook import GadgetRules, GadgetWarnings
from imagekit.gadget.values import Era
from imagekit.rules import YamlRules, rules_of
from imagekit.schema import DocumentProblems, load_yaml

FOLDER = Path(__file__).parent / "invalid"
RULES = {rule.id: rule for book in (YamlRules, GadgetRules, GadgetWarnings) for rule in rules_of(book)}
CASES = sorted(path for path in FOLDER.iterdir() if path.name.partition("-")[0] in ("gadget", "yaml"))


def rule_id(case: Path) -> str:
    """The rule that a folder is called after."""
    return case.name.partition("--")[0]


def document(case: Path) -> bytes:
    """The document of a folder."""
    text = (case / "gadget.yaml").read_bytes()
    if (case / "more.json").exists():
        piece, count = json.loads((case / "more.json").read_text())
        text += piece.encode() * count
    return text


def checked(case: Path) -> CheckedGadget:
    """What a check finds."""
    rules, files = case / "rules.txt", case / "files.txt"
    era = Era[rules.read_text().strip().upper()] if rules.exists() else None
    pairs = (line.rsplit(" ", 1) for line in files.read_text().splitlines()) if files.exists() else ()
    found = FoundTree(path=case, kind=Kind.DOCUMENT, name="gadget.yaml", text=document(case),
                      files={name: int(size) for name, size in pairs} if files.exists() else None)
    return check_gadget_tree(found, era=era)


def words(case: Path) -> str:
    """What is told of the document; warnings only where a warning is what the folder is about."""
    if rule_id(case) == YamlRules.REPEATED.id:  # in documents of our own, not of the field
        try:
            load_yaml(document(case), name="gadget.yaml")
        except DocumentProblems as error:
            return "".join(f"{problem}\n" for problem in error.problems)
    found = checked(case)
    lines = [str(problem) for problem in found.problems]
    if RULES[rule_id(case)].warning:
        lines += [f"warning: {problem}" for problem in found.warnings]
    return "".join(f"{line}\n" for line in lines)
