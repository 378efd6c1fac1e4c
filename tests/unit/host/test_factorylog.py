"""A station's log: appended, cut off anywhere, changed by somebody, held by another."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imagekit.errors import DocumentError, HostError, ImagekitError, TrustError
from imagekit.host.clock import SystemClock
from imagekit.host.factorylog import FactoryLog
from imagekit.plan.factory_log import NOTHING, Kind, decode_log, totals
from imagekit.testing.documents import signing_key

STATION = "line-1"


@contextmanager
def opened(path: Path, *, key: str = "brand", station: str = STATION) -> Iterator[FactoryLog]:
    log = FactoryLog(path, station=station, key=signing_key(key), clock=SystemClock())
    try:
        yield log
    finally:
        log.close()


def unit(serial: str | None = None, result: str = "done") -> dict[str, object]:
    return {"result": result, "identity": serial and {"serial": serial}}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A log of a start and three units."""
    path = tmp_path / "factory.log"
    with opened(path) as log:
        log.append(Kind.START, {})
        for serial in ("A1", "A2", "A3"):
            log.append(Kind.UNIT, unit(serial))
    return path


def test_records_are_numbered_bound_to_each_other_and_signed(written: Path) -> None:
    log = decode_log(written.read_bytes(), name="log")
    assert [record.number for record in log.records] == [0, 1, 2, 3]
    assert [record.said["previous"] for record in log.records] == [
        NOTHING, *(record.digest for record in log.records[:-1])]
    assert log.key == signing_key("brand").public
    assert totals(log).serials == ("A1", "A2", "A3")


def test_log_that_was_cut_at_any_byte_keeps_every_whole_record_and_every_torn_byte(written: Path,
                                                                                  tmp_path: Path) -> None:
    raw = written.read_bytes()
    ends = [index + 1 for index, byte in enumerate(raw) if byte == 10]
    for cut in range(len(raw)):
        log = decode_log(raw[:cut], name="log")
        whole = sum(end <= cut or end == cut + 1 for end in ends)  # without its line feed it is whole too
        assert len(log.records) == whole, cut
        kept = ends[whole - 1] - log.unended if whole else 0
        assert log.torn == raw[kept:cut], cut
    for number, cut in enumerate((1, ends[0] - 1, ends[0], ends[0] + 1, ends[2] - 1, ends[2] + 700, len(raw) - 2)):
        path = tmp_path / f"cut-{number}" / "factory.log"
        path.parent.mkdir()
        path.write_bytes(raw[:cut])
        before = decode_log(raw[:cut], name="log")
        with opened(path) as log:
            log.append(Kind.UNIT, unit("A9"))
        after = decode_log(path.read_bytes(), name="log")
        assert [record.said for record in after.records[:len(before.records)]] == [
            record.said for record in before.records]
        assert totals(after).serials[-1] == "A9"
        kept = list(path.parent.glob("*.torn-*"))
        assert b"".join(item.read_bytes() for item in kept) == before.torn


CHANGING = frozenset(("open", "write", "pwrite", "fsync", "ftruncate", "posix_fallocate", "flock", "unlink", "rename",
                      "replace", "fchmod", "close"))


def killed_before(call: int, path: Path, told: Path) -> bool:
    """Go on with a log in a process that ends without a word before its so-many-th call that may change the disk."""
    child = os.fork()
    if child == 0:
        seen = 0

        def count(_: object, event: str, called: object) -> None:
            nonlocal seen
            if event == "c_call" and getattr(called, "__name__", "") in CHANGING:
                seen += 1
                if seen == call:
                    os.kill(os.getpid(), signal.SIGKILL)

        answer = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        sys.setprofile(count)
        try:
            log = FactoryLog(path, station=STATION, key=signing_key("brand"), clock=SystemClock())
            for serial in ("B1", "B2"):
                log.append(Kind.UNIT, unit(serial))
                os.writev(answer, [f"{serial} ".encode()])
            log.close()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize("torn", [False, True])
def test_station_that_is_killed_at_any_call_loses_nothing_that_it_was_told_is_recorded(written: Path, tmp_path: Path,
                                                                                      torn: bool) -> None:
    raw = written.read_bytes() + (b'{"record":{"half' if torn else b"")
    calls = 0
    while True:
        calls += 1
        folder = tmp_path / f"killed-{calls}"
        folder.mkdir()
        path = folder / "factory.log"
        path.write_bytes(raw)
        ended = killed_before(calls, path, folder / "told")
        told = (folder / "told").read_text().split()
        with opened(path) as log:
            log.append(Kind.UNIT, unit("C1"))
        after = decode_log(path.read_bytes(), name="log")
        serials = totals(after).serials
        assert serials[:3] == ("A1", "A2", "A3") and serials[-1] == "C1", calls
        assert list(serials[3:-1])[:len(told)] == told and len(serials[3:-1]) <= len(told) + 1, calls
        assert not torn or any(item.read_bytes() == raw[-16:] for item in folder.glob("*.torn-*")), calls
        if not ended:
            break
    assert (calls > 8, told) == (True, ["B1", "B2"])


def test_zeros_of_a_file_system_that_lost_power_are_set_aside(written: Path) -> None:
    with written.open("ab") as stream:
        stream.write(bytes(1000))
    with opened(written) as log:
        assert log.found.torn == bytes(1000)
    said = list(decode_log(written.read_bytes(), name="log").of(Kind.RECOVERED))
    assert [(record.number, record.said["bytes"]) for record in said] == [(4, 1000)]


def attacked(raw: bytes, attack: str) -> bytes:
    lines = raw.splitlines(keepends=True)
    return {
        "a value": raw.replace(b'"A2"', b'"A7"'), "a line out": b"".join([*lines[:2], lines[3]]),
        "first line out": b"".join(lines[1:]), "two lines swapped": b"".join([*lines[:2], lines[3], lines[2]]),
        "a line twice": b"".join([*lines[:3], *lines[2:]]), "garbage in the middle": b"".join(
            [*lines[:2], b"garbage\n", *lines[2:]]),
        "spaces": raw.replace(b'"kind":"unit"', b'"kind": "unit"', 1),
        "another signature": raw.replace(lines[2].partition(b'"signature"')[2],
                                         lines[1].partition(b'"signature"')[2]),
    }[attack]


@pytest.mark.parametrize("attack", ["a value", "a line out", "first line out", "two lines swapped", "a line twice",
                                    "garbage in the middle", "spaces", "another signature"])
def test_log_that_somebody_changed_is_not_believed_and_not_gone_on_with(written: Path, attack: str) -> None:
    changed = attacked(written.read_bytes(), attack)
    assert changed != written.read_bytes()
    with pytest.raises((TrustError, DocumentError)):
        decode_log(changed, name="log")
    written.write_bytes(changed)
    with pytest.raises(ImagekitError), opened(written):
        pass
    assert written.read_bytes() == changed


def test_whatever_stands_in_a_log_is_refused_in_words_or_is_no_record(written: Path) -> None:
    raw, generator = written.read_bytes(), random.Random(1)
    for _ in range(300):
        changed = bytearray(raw)
        for _ in range(generator.choice((1, 3))):
            changed[generator.randrange(len(raw) - 2)] = generator.choice(b'"{}[]0\\,:\xff\n\0a')
        with contextlib.suppress(TrustError, DocumentError):
            log = decode_log(bytes(changed), name="log")
            assert changed == raw or log.torn  # only the last line may count as torn
    for value in ('{"kind":[]}', '{"kind":"unit","number":0}', "[]", "7", '{"kind":{},"version":1}', '"x"', "null"):
        line = f'{{"record":{value},"signature":"AAAA"}}\n'.encode()
        with contextlib.suppress(TrustError, DocumentError):
            assert decode_log(line, name="log").records == ()


def test_two_units_with_one_serial_are_told(written: Path) -> None:
    with opened(written) as log:
        log.append(Kind.UNIT, unit("A2"))
    with pytest.raises(TrustError, match="records 2 and 4 gave the serial A2 to two units"):
        totals(decode_log(written.read_bytes(), name="log"))


def test_second_station_on_one_log_is_refused(written: Path) -> None:
    with opened(written), pytest.raises(HostError, match="another station writes it"), opened(written):
        pass


def test_port_that_looks_for_a_medium_does_not_take_the_room_that_another_ones_record_needs(
        written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full but for the reserve, which is given up for the record, and asked for anew at the same time."""
    tries, pwrite = [0], os.pwrite
    with opened(written) as log:
        other = threading.Thread(target=log.make_room)

        def full(descriptor: int, content: bytes, at: int) -> int:
            tries[0] += 1
            if tries[0] == 2:
                other.start()
                other.join(1)
            if written.with_name("factory.log.reserve").exists():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return pwrite(descriptor, content, at)

        monkeypatch.setattr("imagekit.host.factorylog.os.pwrite", full)
        log.append(Kind.UNIT, unit("A4"))
        other.join()
    assert totals(decode_log(written.read_bytes(), name="log")).serials == ("A1", "A2", "A3", "A4")


def test_write_that_failed_halfway_and_was_not_taken_back_spoils_no_later_record(
        written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite

    def half(descriptor: int, content: bytes, at: int) -> int:
        pwrite(descriptor, content[:200], at)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def stays(_descriptor: int, _size: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with opened(written) as log:
        with monkeypatch.context() as broken:
            broken.setattr("imagekit.host.factorylog.os.pwrite", half)
            broken.setattr("imagekit.host.factorylog.os.ftruncate", stays)
            with pytest.raises(HostError, match="input/output error"):
                log.append(Kind.UNIT, unit("A4"))
        log.append(Kind.UNIT, unit("A5"))
        log.append(Kind.STOP, {})
    log_now = decode_log(written.read_bytes(), name="log")
    assert ([record.kind for record in log_now.records[-2:]], log_now.torn) == ([Kind.UNIT, Kind.STOP], b"")
    assert totals(log_now).serials == ("A1", "A2", "A3", "A5")


def test_log_of_another_key_or_station_is_not_gone_on_with(written: Path) -> None:
    with pytest.raises(TrustError, match="begun with another key"), opened(written, key="stranger"):
        pass
    with pytest.raises(TrustError, match="of station 'line-1', the job of 'line-2'"), opened(written, station="line-2"):
        pass


FULL = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from imagekit.errors import HostError
from imagekit.host.clock import SystemClock
from imagekit.host.factorylog import FactoryLog
from imagekit.plan.factory_log import Kind
from imagekit.testing.documents import signing_key
log = FactoryLog(Path({path!r}), station="line-1", key=signing_key("brand"), clock=SystemClock())
log.append(Kind.START, {{}})
try:
    with open({filler!r}, "wb") as filler:
        filler.write(bytes(1 << 22))
except OSError:
    pass
count = 0
while not log.full:
    count += 1
    log.append(Kind.UNIT, {{"result": "done", "identity": None}})
try:
    log.make_room()
except HostError as error:
    print(count, error.message)
sys.stdout.write("\\n" + Path({path!r}).read_text())
"""


def test_disk_that_is_really_full_takes_one_more_record_and_says_so(tmp_path: Path) -> None:
    script = tmp_path / "full.py"
    script.write_text(FULL.format(root=str(Path(__file__).parents[3]), path=str(tmp_path / "disk/factory.log"),
                                  filler=str(tmp_path / "disk/filler")))
    (tmp_path / "disk").mkdir()
    enter = ["unshare", "-Urm", "sh", "-c", f"mount -t tmpfs -o size=1M tmpfs {tmp_path}/disk && exec {sys.executable}"
             f" {script}"]
    done = subprocess.run(enter, capture_output=True, text=True, check=False)
    if "unshare failed" in done.stderr or "mount:" in done.stderr:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("this machine lets nobody mount a small disk")
    assert done.returncode == 0, done.stderr
    said, _, log = done.stdout.partition("\n\n")
    assert said.endswith("no space left on its disk")
    assert len(decode_log(log.encode(), name="log").records) == int(said.split()[0]) + 1
