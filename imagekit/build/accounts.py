"""The accounts of a base: nobody can log in, and every number is a name's own.

Decides the numbers of the system users and groups that packages create as they are installed (101 to 999; Debian
Policy 9.2.2, where 100 is the group users). Left alone they follow the order of installation, so that another version
of apt, or one package more, would give a service another number, and `/var`, which outlives the base, would belong to
the wrong one. Here the number comes from the name. Nobody has a password, and root no shell.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256

from imagekit.build.tree import Tree, content_of, file
from imagekit.errors import PlanError

FIRST, LAST = 101, 999
NO_PASSWORD = "!*"  # locked, and nothing that a password could ever match
NO_DAY = "20000"  # of a password's last change, in days since 1970: there are none, so it means nothing
NO_SHELL = "/usr/sbin/nologin"
SHADOW_GROUP = 42  # Debian's fixed number (base-passwd)


def stable_numbers(names: Iterable[str]) -> dict[str, int]:
    """A number of its own for every name, by its digest; of two that meet, the later name takes the next free one."""
    numbers: dict[str, int] = {}
    taken: set[int] = set()
    span = LAST - FIRST + 1
    for name in sorted(set(names)):
        number = FIRST + int.from_bytes(sha256(name.encode()).digest()[:8]) % span
        while number in taken:
            number = FIRST + (number - FIRST + 1) % span
        taken.add(number)
        numbers[name] = number
    return numbers


def settle_accounts(tree: Tree) -> None:
    """Rewrite the account files of `tree` and the owners of its entries.

    Raises:
        PlanError: a file is missing or a line of it is not what its format demands.
    """
    users, groups = _rows(tree, "etc/passwd", 7), _rows(tree, "etc/group", 4)
    numbers = stable_numbers(row[0] for row, at in [*((row, 2) for row in users), *((row, 2) for row in groups)]
                             if FIRST <= int(row[at]) <= LAST)
    uids = {int(row[2]): numbers.get(row[0], int(row[2])) for row in users}
    gids = {int(row[2]): numbers.get(row[0], int(row[2])) for row in groups}
    for path in tree.paths():
        entry = tree.get(path)
        assert entry is not None
        uid, gid = uids.get(entry.uid, entry.uid), gids.get(entry.gid, entry.gid)
        if (uid, gid) != (entry.uid, entry.gid):
            tree.add(replace(entry, uid=uid, gid=gid))
    passwd = [[name, "x", str(uids[int(uid)]), str(gids.get(int(gid), int(gid))), gecos, home,
               NO_SHELL if name == "root" else shell] for name, _, uid, gid, gecos, home, shell in users]
    group = [[name, "x", str(gids[int(gid)]), members] for name, _, gid, members in groups]
    for rows in (passwd, group):
        rows.sort(key=lambda row: int(row[2]))
    tree.add(file("etc/passwd", _text(passwd)))
    tree.add(file("etc/group", _text(group)))
    hidden = {"etc/shadow": [[row[0], NO_PASSWORD, NO_DAY, *[""] * 6] for row in passwd],
              "etc/gshadow": [[row[0], NO_PASSWORD, "", row[3]] for row in group]}
    for path, rows in hidden.items():
        tree.add(replace(file(path, _text(rows), mode=0o640), gid=SHADOW_GROUP))


def _rows(tree: Tree, path: str, fields: int) -> list[list[str]]:
    entry = tree.get(path)
    if entry is None:
        raise PlanError(f"cannot put the base in order: it has no /{path}")
    rows = [line.split(":") for line in content_of(entry).decode().splitlines()]
    for row in rows:
        if len(row) != fields or not row[2].isdigit():
            raise PlanError(f"cannot put the base in order: /{path} has the line {':'.join(row)!r}")
    return rows


def _text(rows: list[list[str]]) -> bytes:
    return "".join(":".join(row) + "\n" for row in rows).encode()
