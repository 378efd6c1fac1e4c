"""All rulebooks, and the page that lists them: docs/reference/rules.md.

    python -m imagekit.rulebooks > docs/reference/rules.md
"""

from __future__ import annotations

import sys

from imagekit.assertions.rulebook import AssertionRules
from imagekit.gadget.content_check import ContentRules
from imagekit.gadget.rulebook import GadgetRules, GadgetWarnings
from imagekit.packages.rulebook import KernelRules, SnapRules
from imagekit.rules import YamlRules, rules_of

RULEBOOKS: tuple[tuple[str, type], ...] = (
    ("YAML documents", YamlRules),
    ("gadget.yaml", GadgetRules),
    ("gadget.yaml: accepted, with a warning", GadgetWarnings),
    ("Content of a gadget", ContentRules),
    ("kernel.yaml", KernelRules),
    ("snap.yaml", SnapRules),
    ("Assertions", AssertionRules),
)

HEAD = """# Rules

Every problem that `imagekit` finds in a document names the rule that it breaks: `imagekit gadget check --json` has its
id under `rule`. A rule marked *warning* changes no verdict. For each there is a document that breaks it, with the exact
words of the refusal, in `tests/documents/invalid/<id>`. This page is made by

```
python -m imagekit.rulebooks > docs/reference/rules.md
```
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, book in RULEBOOKS:
        rows = [f"| `{rule.id}` | {_cell(rule.text)}{' *(warning)*' if rule.warning else ''} |"
                for rule in rules_of(book)]
        parts.append("\n".join([f"## {title}", "", "| id | what is demanded |", "|---|---|", *rows, ""]))
    return "\n".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


if __name__ == "__main__":
    sys.stdout.write(page())
