"""KVM is used only after a guest ran under it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from imagekit.errors import HostError
from imagekit.host.ports import Finished
from imagekit.qemu.probe import boot_sector, probe_kvm


class Emulator:
    """QEMU as a port: says its version, and answers the probing guest as told."""

    def __init__(self, answer: bytes | HostError, version: str = "QEMU emulator version 7.2.22") -> None:
        self.answer = answer
        self.version = version
        self.guests = 0

    def run(self, name: str, *args: str | Path, stdin: bytes | None = None, cwd: Path | None = None,
            env: Mapping[str, str] | None = None, timeout_s: float | None = None) -> Finished:
        if args == ("--version",):
            return Finished(argv=(name,), stdout=f"{self.version}\nCopyright\n".encode(), stderr=b"")
        self.guests += 1
        assert timeout_s is not None
        assert timeout_s <= 5
        if isinstance(self.answer, HostError):
            raise self.answer
        return Finished(argv=(name,), stdout=self.answer, stderr=b"")

    def find(self, name: str) -> Sequence[str]:
        return [name]


@pytest.fixture
def host(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "kvm").touch()
    (tmp_path / "boot_id").write_text("one\n")
    return {"cache": tmp_path / "cache", "device": tmp_path / "kvm", "boot_id": tmp_path / "boot_id"}


def test_boot_sector_is_one_sector_with_its_signature() -> None:
    sector = boot_sector()
    assert len(sector) == 512
    assert sector[510:] == b"\x55\xaa"


def test_guest_that_answers_makes_kvm_usable(host: dict[str, Path]) -> None:
    assert probe_kvm(Emulator(b"IK"), "qemu", **host).usable


@pytest.mark.parametrize("answer", [b"NO", b"", HostError("cannot run qemu: no end after 5 s"),
                                    HostError("cannot run qemu: status 134", details=("failed to set MSR 0x10a",))])
def test_hang_abort_and_wrong_answer_make_kvm_unusable(host: dict[str, Path], answer: bytes | HostError) -> None:
    assert not probe_kvm(Emulator(answer), "qemu", **host).usable


def test_reason_carries_the_last_words_of_the_emulator(host: dict[str, Path]) -> None:
    answer = probe_kvm(Emulator(HostError("cannot run qemu", details=("failed to set MSR 0x10a",))), "qemu", **host)
    assert "failed to set MSR 0x10a" in answer.reason


def test_no_device_needs_no_guest(host: dict[str, Path]) -> None:
    host["device"].unlink()
    emulator = Emulator(b"IK")
    assert not probe_kvm(emulator, "qemu", **host).usable
    assert emulator.guests == 0


def test_answer_is_remembered_until_the_host_boots_or_qemu_changes(host: dict[str, Path]) -> None:
    emulator = Emulator(HostError("cannot run qemu: no end after 5 s"))
    first = probe_kvm(emulator, "qemu", **host)
    assert probe_kvm(emulator, "qemu", **host) == first
    assert emulator.guests == 1
    emulator.version = "QEMU emulator version 10.0.2"
    probe_kvm(emulator, "qemu", **host)
    assert emulator.guests == 2
    host["boot_id"].write_text("two\n")
    probe_kvm(emulator, "qemu", **host)
    assert emulator.guests == 3


@pytest.mark.parametrize("content", [b"", b"{", b"[]", json.dumps({"host": 1}).encode(), b"\xff"])
def test_broken_memory_is_asked_anew(host: dict[str, Path], content: bytes) -> None:
    host["cache"].mkdir()
    (host["cache"] / "kvm-probe.json").write_bytes(content)
    assert probe_kvm(Emulator(b"IK"), "qemu", **host).usable


def test_nothing_but_the_answer_is_left_behind(host: dict[str, Path]) -> None:
    probe_kvm(Emulator(b"IK"), "qemu", **host)
    assert [path.name for path in host["cache"].iterdir()] == ["kvm-probe.json"]
