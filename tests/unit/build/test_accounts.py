"""The accounts of a base: numbers by name, and nobody who can log in."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imagekit.build.accounts import settle_accounts, stable_numbers
from imagekit.build.tree import Tree, content_of, file
from imagekit.errors import PlanError

PASSWD = "root:*:0:0:root:/root:/bin/bash\nweb:!:998:997:Web:/var/web:/bin/sh\nbus:!:997:996::/:/usr/sbin/nologin\n"
GROUP = "root:*:0:\nshadow:*:42:\nweb:!:997:bus\nbus:!:996:\nnogroup:x:65534:\n"


def settled(passwd: str = PASSWD, group: str = GROUP, *, owner: tuple[int, int] = (998, 997)) -> Tree:
    tree = Tree([file("etc/passwd", passwd.encode()), file("etc/group", group.encode()),
                 replace(file("var/web/page", b"x"), uid=owner[0], gid=owner[1])])
    settle_accounts(tree)
    return tree


def rows(tree: Tree, path: str) -> dict[str, list[str]]:
    entry = tree.get(path)
    assert entry is not None
    return {line.split(":")[0]: line.split(":")[1:] for line in content_of(entry).decode().splitlines()}


def test_number_is_the_name_s_own_whatever_else_is_there() -> None:
    alone = stable_numbers(["messagebus"])
    assert stable_numbers(["systemd-network", "messagebus"])["messagebus"] == alone["messagebus"]
    assert all(101 <= number <= 999 for number in stable_numbers(map(str, range(500))).values())


def test_names_that_meet_get_different_numbers() -> None:
    numbers = stable_numbers(map(str, range(899)))
    assert len(set(numbers.values())) == 899


def test_order_of_installation_does_not_matter() -> None:
    swapped = settled("root:*:0:0:root:/root:/bin/bash\nbus:!:998:997::/:/usr/sbin/nologin\n"
                      "web:!:997:996:Web:/var/web:/bin/sh\n",
                      "root:*:0:\nshadow:*:42:\nbus:!:997:\nweb:!:996:bus\nnogroup:x:65534:\n", owner=(997, 996))
    assert [swapped.get(path) for path in swapped.paths()] == [settled().get(path) for path in settled().paths()]


def test_owners_follow_their_accounts_and_fixed_numbers_stay() -> None:
    tree = settled()
    users, groups = rows(tree, "etc/passwd"), rows(tree, "etc/group")
    page = tree.get("var/web/page")
    assert page is not None
    assert (page.uid, page.gid) == (int(users["web"][1]), int(groups["web"][1]))
    assert users["web"][1] == groups["web"][1] == users["web"][2]
    assert (groups["shadow"][1], groups["nogroup"][1]) == ("42", "65534")
    assert groups["web"][2] == "bus"


def test_nobody_has_a_password_and_root_no_shell() -> None:
    tree = settled()
    assert {row[0] for row in rows(tree, "etc/passwd").values()} == {"x"}
    assert rows(tree, "etc/passwd")["root"][-1] == "/usr/sbin/nologin"
    for path in ("etc/shadow", "etc/gshadow"):
        assert {row[0] for row in rows(tree, path).values()} == {"!*"}
        entry = tree.get(path)
        assert entry is not None and (entry.mode, entry.gid) == (0o640, 42)


@pytest.mark.parametrize(("passwd", "group"), [("root:x:0\n", GROUP), (PASSWD, "root:x:zero:\n"), ("\n", GROUP)])
def test_broken_account_file_is_refused(passwd: str, group: str) -> None:
    with pytest.raises(PlanError, match="has the line"):
        settled(passwd, group)


def test_base_without_accounts_is_refused() -> None:
    with pytest.raises(PlanError, match="no /etc/passwd"):
        settle_accounts(Tree())
