"""Debian's order of versions, read by dpkg as well."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable

import pytest

from imagekit.packages.debversion import compare_debian_versions

# Each is older than the one behind it.
ORDER = ("1.0~beta1~svn1245", "1.0~beta1", "1.0", "1.0a", "1.0+dfsg-1", "1.0+dfsg-1+deb13u1", "1.0+dfsg-1+deb13u10",
         "1.0.1-1~bpo12+1", "1.0.1-1", "1.0.1-1.1", "1.0.10", "1.1-0", "2", "10", "1:0.1", "1:0.1+b1", "2:0~")


def test_versions_are_in_debians_order() -> None:
    for index, older in enumerate(ORDER):
        assert compare_debian_versions(older, older) == 0
        for newer in ORDER[index + 1:]:
            assert compare_debian_versions(older, newer) < 0 < compare_debian_versions(newer, older), (older, newer)


@pytest.mark.parametrize(("one", "two"), [("1.0", "0:1.0"), ("1.01", "1.1"), ("1.0", "1.0-0"), ("1", "1-00")])
def test_other_writing_is_the_same_version(one: str, two: str) -> None:
    assert compare_debian_versions(one, two) == 0


def test_dpkg_says_the_same(program: Callable[[str], str]) -> None:
    dpkg, draw = program("dpkg"), random.Random(7)
    for _ in range(200):
        one, two = ("".join(draw.choice(("0:", "1:", "")) + draw.choice("0123456789")
                            + "".join(draw.choice("01239.+~ab-") for _ in range(draw.randrange(8))) + "0")
                    for _ in range(2))
        ours = compare_debian_versions(one, two)
        word = "lt" if ours < 0 else "gt" if ours else "eq"
        judged = subprocess.run([dpkg, "--compare-versions", one, word, two], check=False)
        assert not judged.returncode, (one, word, two)
