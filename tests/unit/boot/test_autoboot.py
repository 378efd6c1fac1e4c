"""autoboot.txt: always one sector, read as the firmware's documents say, and refused where they are silent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.boot.autoboot import (
    AUTOBOOT_SIZE,
    PARTITION_MOST,
    Autoboot,
    decode_autoboot,
    encode_autoboot,
    read_settings,
    select,
)
from imagekit.errors import DocumentError

NUMBERS = range(1, PARTITION_MOST + 1)
DOCUMENTED = b"[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n"


def test_every_pair_of_partitions_is_one_sector_of_text_and_comes_back() -> None:
    for boot in NUMBERS:
        for trial in NUMBERS:
            if boot == trial:
                continue
            found = Autoboot(boot=boot, trial=trial)
            raw = encode_autoboot(found)
            assert len(raw) == AUTOBOOT_SIZE
            assert raw.endswith(b"#\n")
            assert max(map(len, raw.splitlines())) < 80, "the firmware's lines are short"
            assert decode_autoboot(raw) == found


def test_bytes_begin_with_what_the_documents_show() -> None:
    raw = encode_autoboot(Autoboot(boot=2, trial=3))
    assert raw.startswith(DOCUMENTED)
    assert set(raw[len(DOCUMENTED):]) == set(b"#\n")


def test_a_torn_sector_is_not_taken_for_ours_and_never_names_a_third_partition() -> None:
    old, new = encode_autoboot(Autoboot(boot=2, trial=3)), encode_autoboot(Autoboot(boot=3, trial=2))
    for cut in range(AUTOBOOT_SIZE):
        torn = new[:cut] + old[cut:]
        assert select(torn, tryboot=False).partition in (2, 3)
        if torn not in (old, new):
            with pytest.raises(DocumentError):
                decode_autoboot(torn)


@pytest.mark.parametrize(("boot", "trial"), [(0, 2), (2, 0), (32, 2), (2, 2), (-1, 3)])
def test_numbers_that_are_no_two_partitions_are_refused(boot: int, trial: int) -> None:
    with pytest.raises(DocumentError, match=r"cannot encode autoboot\.txt"):
        encode_autoboot(Autoboot(boot=boot, trial=trial))


@pytest.mark.parametrize(("text", "normal", "trial"), [
    (DOCUMENTED, 2, 3),
    (b"boot_partition=2\n", 2, 2),
    (b"", 0, 0),
    (b"[none]\nboot_partition=5\n[all]\nboot_partition=2\n", 2, 2),
    (b"[none]\nboot_partition=5\n", 0, 0),
    (b"[tryboot]\nboot_partition=3\n[all]\nboot_partition=2\n", 2, 2),
    (b"# boot_partition=9\r\n  boot_partition = 4\r\n", 4, 4),
    (b"[tryboot]\n[none]\nboot_partition=3\n", 0, 0),
    (b"boot_partition=2\nboot_partition=3", 3, 3),
])
def test_filters_and_comments_as_documented(text: bytes, normal: int, trial: int) -> None:
    assert select(text, tryboot=False).partition == normal
    assert select(text, tryboot=True).partition == trial


def test_a_b_counts_only_as_one() -> None:
    assert select(DOCUMENTED, tryboot=False).tryboot_a_b
    assert not select(b"tryboot_a_b=0\n", tryboot=False).tryboot_a_b
    assert not select(b"[tryboot]\ntryboot_a_b=1\n", tryboot=False).tryboot_a_b
    assert select(b"[tryboot]\ntryboot_a_b=1\n", tryboot=True).tryboot_a_b


@pytest.mark.parametrize("text", [
    b"[pi4]\nboot_partition=2\n", b"[gpio4=1]\nboot_partition=2\n", b"boot_partition=two\n", b"boot_partition=32\n",
    b"boot_partition=-1\n", b"boot_partition=\xb2\n", b"#" * (AUTOBOOT_SIZE + 1),
])
def test_what_the_documents_give_no_meaning_is_refused(text: bytes) -> None:
    with pytest.raises(DocumentError, match=r"autoboot\.txt"):
        select(text, tryboot=False)


def test_models_tell_apart_and_the_last_of_them_counts() -> None:
    text = b"kernel=any\n[pi3]\nkernel=three\n[pi4]\nkernel=four\n[tryboot]\ncmdline=t\n[all]\nx=1\n"
    three = read_settings(text, filters=frozenset({"pi3"}), name="config.txt")
    assert three == {"kernel": "three", "x": "1"}
    assert read_settings(text, filters=frozenset({"pi4", "tryboot"}), name="config.txt") == {
        "kernel": "four", "cmdline": "t", "x": "1"}


@given(st.binary(max_size=AUTOBOOT_SIZE))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    for tryboot in (False, True):
        try:
            found = select(raw, tryboot=tryboot)
        except DocumentError:
            continue
        assert 0 <= found.partition <= PARTITION_MOST
