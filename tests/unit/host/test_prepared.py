"""Prepared identities: each is taken once, none is believed that is not the brand's, the model's and its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imagekit.errors import DocumentError, HostError, TrustError, UsageError
from imagekit.host.prepared import KEY, PreparedFolder, check_serial, prepare, serial_names
from imagekit.testing.documents import NOW, Brand, signing_key
from tests.unit.flash.factory_bench import write_identity

ACME = Brand("acme")


def opened(folder: Path) -> PreparedFolder:
    return PreparedFolder(folder, check=check_serial(ACME.database(), brand="acme", model="pc", now=NOW))


def test_identities_are_taken_in_order_and_never_again(tmp_path: Path) -> None:
    for serial in ("A2", "A1"):
        write_identity(tmp_path / "units", serial, brand=ACME)
    folder = opened(tmp_path / "units")
    first = folder.take()
    assert first is not None
    assert (first.serial.serial, folder.left) == ("A1", 1)
    folder.forget_key(first)
    folder.close()
    again = opened(tmp_path / "units")
    assert [item.serial.serial for item in (again.take(),) if item] == ["A2"]
    assert again.take() is None
    again.close()
    assert sorted(path.name for path in (tmp_path / "units/taken").iterdir()) == ["A1.serial", "A2.key", "A2.serial"]


@pytest.mark.parametrize("afterwards", [False, True], ids=["at-once", "after-a-power-cut"])
def test_key_of_a_finished_unit_is_overwritten_on_the_disk_before_its_name_goes(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, afterwards: bool) -> None:
    write_identity(tmp_path / "units", "A1", brand=ACME)
    key, same = tmp_path / f"units/A1{KEY}", tmp_path / "another-name"
    same.hardlink_to(key)
    size, fsync, synchronised = len(same.read_bytes()), os.fsync, []

    def noted(descriptor: int) -> None:
        if os.path.samestat(os.fstat(descriptor), same.stat()):
            synchronised.append((same.read_bytes(), same.stat().st_nlink))
        fsync(descriptor)

    folder = opened(tmp_path / "units")
    item = folder.take()
    assert item is not None
    monkeypatch.setattr("imagekit.host.prepared.os.fsync", noted)
    if afterwards:
        folder.forget_made({"B1"})
        assert not synchronised
        folder.forget_made({"A1"})
    else:
        folder.forget_key(item)
    folder.close()
    assert synchronised == [(bytes(size), 2)]
    assert (same.read_bytes(), same.stat().st_nlink) == (bytes(size), 1)


def test_identity_whose_taking_was_cut_in_the_middle_is_given_to_nobody(tmp_path: Path) -> None:
    write_identity(tmp_path / "units", "A1", brand=ACME)
    write_identity(tmp_path / "units", "A2", brand=ACME)
    folder = opened(tmp_path / "units")
    (tmp_path / f"units/taken/A1{KEY}").mkdir(parents=True)  # the second of the two renames fails
    with pytest.raises(HostError, match="cannot write"):
        folder.take()
    folder.close()
    again = opened(tmp_path / "units")
    assert again.serials() == {"A2"}
    again.close()


def test_preparing_that_was_cut_off_says_how_it_goes_on(tmp_path: Path) -> None:
    write_identity(tmp_path, "A1", brand=ACME)
    (tmp_path / "A2.key").touch(mode=0o600)
    for serial, hint in (("A1", "at the first serial that it lacks"), ("A2", "remove it, and go on with --first")):
        with pytest.raises(UsageError, match=f"cannot prepare serial {serial}") as caught:
            prepare(tmp_path, serial, authority="acme", brand="acme", model="pc", key=signing_key("brand"), now=NOW)
        assert hint in str(caught.value.hint)
    (tmp_path / "A2.key").unlink()
    prepare(tmp_path, "A2", authority="acme", brand="acme", model="pc", key=signing_key("brand"), now=NOW)
    folder = opened(tmp_path)
    assert folder.serials() == {"A1", "A2"}
    folder.close()


def test_second_station_on_one_folder_is_refused(tmp_path: Path) -> None:
    write_identity(tmp_path / "units", "A1", brand=ACME)
    folder = opened(tmp_path / "units")
    with pytest.raises(HostError, match="another imagekit works in it"):
        opened(tmp_path / "units")
    folder.close()


@pytest.mark.parametrize(("attack", "error"), [
    ("another brand", TrustError), ("another model", DocumentError), ("another key", TrustError),
    ("changed", TrustError), ("readable", TrustError), ("no serial", DocumentError)])
def test_identity_that_is_not_right_is_refused_before_any_unit(tmp_path: Path, attack: str,
                                                               error: type[Exception]) -> None:
    units = tmp_path / "units"
    stranger = Brand("acme", key="stranger")
    write_identity(units, "A1", brand=stranger if attack == "another brand" else ACME,
                   model="pi" if attack == "another model" else "pc")
    serial = units / "A1.serial"
    if attack == "another key":
        write_identity(tmp_path / "other", "A1", brand=ACME, key="store")
        (units / f"A1{KEY}").write_bytes((tmp_path / f"other/A1{KEY}").read_bytes())
    if attack == "changed":
        serial.write_bytes(serial.read_bytes().replace(b"serial: A1", b"serial: A7", 1))
    if attack == "readable":
        (units / f"A1{KEY}").chmod(0o644)
    if attack == "no serial":
        serial.write_bytes(ACME.account.encode())
    with pytest.raises(error):
        opened(units)
    write_identity(tmp_path / "good", "A1", brand=ACME)
    opened(tmp_path / "good").close()


def test_serials_are_counted_with_the_width_of_the_first() -> None:
    assert list(serial_names("A-098", 3)) == ["A-098", "A-099", "A-100"]
    for first, count in (("A9", 2), ("A", 1), ("../1", 1), (".1", 1)):
        with pytest.raises(UsageError):
            list(serial_names(first, count))
