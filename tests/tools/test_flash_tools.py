"""Flashing for real: files and loop devices, the program as a user starts it, other people's tools to look at it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.disk.bmap import decode_bmap, digest_ranges, encode_bmap
from imagekit.host.devices import SystemInventory
from imagekit.plan.flash_device import Code, RefusedError, bind
from imagekit.units import MIB
from tests.loops import attach, detach, looped, need_loops
from tests.tools.conftest import Built, RunTool, require

Flash = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def flash(tmp_path: Path, built: Built) -> Flash:
    env = {name: value for name, value in os.environ.items() if not name.startswith("IMAGEKIT")}
    env |= {"XDG_STATE_HOME": str(tmp_path / "state"), "IMAGEKIT_CACHE": str(tmp_path / "cache"),
            "IMAGEKIT_TRUST": str(built.workshop.trust), "PYTHONPATH": str(Path(__file__).parents[2])}

    def run(*args: object, code: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([sys.executable, "-m", "imagekit.cli", "flash", *map(str, args)], text=True, cwd=tmp_path,
                              capture_output=True, check=False, env=env | more, timeout=300, stdin=subprocess.DEVNULL)
        assert done.returncode == code, done.stderr + done.stdout
        assert "Traceback" not in done.stderr
        return done
    return run


def token(flash: Flash, *args: object) -> str:
    return str(json.loads(flash("plan", *args, "--json").stdout)["token"])


def same_ranges(image: Path, target: Path) -> bool:
    bmap = decode_bmap(image.with_name(image.name + ".bmap").read_bytes())
    with image.open("rb") as one, target.open("rb") as other:
        for item in bmap.ranges:
            one.seek(item.start)
            other.seek(item.start)
            if one.read(item.end - item.start) != other.read(item.end - item.start):
                return False
    return True


# ---- files, without root

def test_signed_image_becomes_a_file_with_the_same_bytes(flash: Flash, built: Built, tmp_path: Path) -> None:
    done = flash("write", built.image, "out.img")
    assert "every block checked" in done.stdout
    assert (tmp_path / "out.img").read_bytes() == built.image.read_bytes()
    assert "blocks were checked before" in flash("write", built.image, "again.img").stdout
    flash("verify", built.image, "again.img")


def test_compressed_image_is_inspected_and_written(flash: Flash, built: Built, tmp_path: Path) -> None:
    packed = tmp_path / f"{built.image.name}.zst"
    (tmp_path / f"{built.image.name}.bmap").write_bytes(built.image.with_name(built.image.name + ".bmap").read_bytes())
    flash("compress", built.image, "-o", packed)
    assert "every block checked" in flash("write", packed, "out.img").stdout
    assert (tmp_path / "out.img").read_bytes() == built.image.read_bytes()
    require("zstd")
    subprocess.run(["zstd", "-q", "-d", packed, "-o", tmp_path / "plain.img"], check=True)
    assert (tmp_path / "plain.img").read_bytes() == built.image.read_bytes()


def test_image_with_a_changed_block_is_refused_before_anything_is_written(flash: Flash, built: Built,
                                                                          tmp_path: Path) -> None:
    changed = tmp_path / built.image.name
    changed.write_bytes(built.image.read_bytes())
    with changed.open("r+b") as stream:
        stream.seek(built.plan.layout.named("base-a").start + 5000)
        stream.write(b"changed")
    flash("write", changed, "out.img", code=4)
    assert not (tmp_path / "out.img").exists()


def test_compressed_image_is_held_to_its_own_block_map_before_anything_is_written_or_noted(
        flash: Flash, built: Built, tmp_path: Path) -> None:
    changed, good = tmp_path / "changed.img", tmp_path / "good.img.zst"
    changed.write_bytes(built.image.read_bytes())
    with changed.open("r+b") as stream:
        stream.seek(built.plan.layout.named("base-a").start + 5000)
        stream.write(b"changed")
    ranges = decode_bmap(built.image.with_name(built.image.name + ".bmap").read_bytes()).ranges
    with changed.open("rb") as stream:
        found = digest_ranges(stream, [(item.start, item.end) for item in ranges])
    (tmp_path / "good.img.zst.bmap").write_bytes(encode_bmap(changed.stat().st_size, found))
    (tmp_path / "changed.img.bmap").write_bytes((tmp_path / "good.img.zst.bmap").read_bytes())
    flash("compress", built.image, "-o", good)
    assert "are not what it says" in flash("write", good, "out.img", code=3).stderr
    assert not (tmp_path / "out.img").exists()
    flash("write", changed, "out.img", code=4)  # the map was not noted as that of a good image
    assert not (tmp_path / "out.img").exists()


def test_image_that_nobody_trusted_signed_is_refused(flash: Flash, built: Built, tmp_path: Path) -> None:
    flash("write", built.image, "out.img", code=4, IMAGEKIT_TRUST="")
    assert not (tmp_path / "out.img").exists()


def test_image_changed_after_it_was_proved_is_refused_and_the_file_has_no_table(flash: Flash, built: Built,
                                                                                tmp_path: Path) -> None:
    image = tmp_path / built.image.name
    image.write_bytes(built.image.read_bytes())
    image.with_name(image.name + ".bmap").write_bytes(
        built.image.with_name(built.image.name + ".bmap").read_bytes())
    flash("write", image, "out.img")
    with image.open("r+b") as stream:
        stream.seek(built.plan.layout.named("base-a").start + 5000)
        stream.write(b"changed")
    done = flash("write", image, "other.img", code=4)
    assert "its block map says" in done.stderr
    assert not any((tmp_path / "other.img").read_bytes()[:4096])


def test_image_of_ours_cannot_pass_as_a_foreign_one(flash: Flash, built: Built) -> None:
    assert "one of imagekit" in flash("write", built.image, "out.img", "--foreign", code=2).stderr


def test_foreign_image_needs_to_be_called_one(flash: Flash, tmp_path: Path) -> None:
    (tmp_path / "foreign.img").write_bytes(os.urandom(3 * MIB + 512))
    assert "--foreign" in flash("write", "foreign.img", "out.img", code=3).stderr
    flash("write", "foreign.img", "out.img", "--foreign")
    assert (tmp_path / "out.img").read_bytes() == (tmp_path / "foreign.img").read_bytes()


def test_existing_file_is_not_overwritten_where_nobody_can_be_asked(flash: Flash, built: Built,
                                                                    tmp_path: Path) -> None:
    (tmp_path / "out.img").write_bytes(b"precious")
    assert "there is no terminal" in flash("write", built.image, "out.img", code=2).stderr
    assert (tmp_path / "out.img").read_bytes() == b"precious"
    flash("write", built.image, "out.img", "--confirm", token(flash, built.image, "out.img"))
    assert (tmp_path / "out.img").read_bytes() == built.image.read_bytes()


def test_events_are_json_lines_and_the_record_says_what_was_written(flash: Flash, built: Built) -> None:
    lines = [json.loads(line) for line in flash("write", built.image, "out.img", "--json").stdout.splitlines()]
    assert [line["event"] for line in lines[:2]] == ["begin", "plan"]
    assert lines[-1]["event"] == "result"
    assert lines[-1]["ok"] is True
    record = json.loads(Path(lines[-1]["records"][0]).read_text())
    assert record["image"]["digest"] == built.manifest.image.digest
    assert (record["result"], record["state"], record["damage"]) == ("done", "verified", None)
    assert record["device"]["path"] == "out.img"


def test_error_is_the_last_json_line(flash: Flash, built: Built, tmp_path: Path) -> None:
    (tmp_path / "out.img").write_bytes(b"precious")
    lines = flash("write", built.image, "out.img", "--json", code=2).stdout.splitlines()
    assert json.loads(lines[-1])["event"] == "error"


def test_record_that_cannot_be_begun_stops_all_before_the_first_byte(flash: Flash, built: Built,
                                                                     tmp_path: Path) -> None:
    (tmp_path / "state" / "imagekit").mkdir(parents=True)
    (tmp_path / "state" / "imagekit" / "flash").write_text("a file in the place of the folder")
    (tmp_path / "out.img").write_bytes(b"precious")
    flash("write", built.image, "out.img", "--confirm", token(flash, built.image, "out.img"), code=6)
    assert (tmp_path / "out.img").read_bytes() == b"precious"


def test_verify_tells_the_first_byte_that_differs(flash: Flash, built: Built, tmp_path: Path) -> None:
    flash("write", built.image, "out.img")
    place = built.plan.layout.named("base-a").start + 4321
    with (tmp_path / "out.img").open("r+b") as stream:
        stream.seek(place)
        byte = stream.read(1)
        stream.seek(place)
        stream.write(bytes([byte[0] ^ 1]))
    done = flash("verify", built.image, "out.img", code=7)
    assert f"the first at byte {place}" in done.stderr


def test_update_of_a_file_writes_what_differs(flash: Flash, built: Built, tmp_path: Path) -> None:
    flash("write", built.image, "out.img")
    with (tmp_path / "out.img").open("r+b") as stream:
        stream.seek(built.plan.layout.named("base-a").start)
        stream.write(bytes(10))
    lines = flash("write", built.image, "out.img", "--update", "--json", "--confirm",
                  token(flash, built.image, "out.img")).stdout.splitlines()
    ended = next(json.loads(line) for line in lines if '"ended"' in line)
    assert ended["state"] == "verified"
    assert ended["written"] < 4 * MIB
    assert (tmp_path / "out.img").read_bytes() == built.image.read_bytes()


def test_image_is_not_written_over_itself(flash: Flash, built: Built, tmp_path: Path) -> None:
    (tmp_path / "link.img").symlink_to(built.image)
    for target in (built.image, "link.img"):
        assert "the image itself is there" in flash("write", built.image, target, code=2).stderr


def test_target_that_is_named_twice_is_refused(flash: Flash, built: Built, tmp_path: Path) -> None:
    assert "named twice" in flash("write", built.image, "out.img", tmp_path / "out.img", code=2).stderr
    assert not (tmp_path / "out.img").exists()


# ---- loop devices, as root

def test_loop_device_is_written_like_a_card_and_sfdisk_agrees(flash: Flash, built: Built, tmp_path: Path,
                                                              run_tool: RunTool) -> None:
    need_loops()
    size = built.image.stat().st_size + 3 * MIB + 512 * 7
    backing = tmp_path / "card"
    backing.write_bytes(b"\xaa" * size)
    with looped(backing) as loop:
        flash("write", built.image, loop.path, "--confirm", token(flash, built.image, loop.path))
        flash("verify", built.image, loop.path)
    said = run_tool("sgdisk", "-v", backing)
    assert "No problems found" in said
    assert same_ranges_but_head(built.image, backing)


def same_ranges_but_head(image: Path, target: Path) -> bool:
    """The table's headers differ on a larger disk; everything behind them is the same."""
    bmap = decode_bmap(image.with_name(image.name + ".bmap").read_bytes())
    with image.open("rb") as one, target.open("rb") as other:
        for item in bmap.ranges:
            start = max(item.start, 1024)
            one.seek(start)
            other.seek(start)
            if one.read(item.end - start) != other.read(item.end - start):
                return False
    return True


def test_old_signatures_do_not_show_through(flash: Flash, built: Built, tmp_path: Path, run_tool: RunTool) -> None:
    need_loops()
    require("mke2fs", "wipefs")
    size = built.image.stat().st_size + 8 * MIB
    backing = tmp_path / "card"
    with backing.open("wb") as stream:
        stream.truncate(size)
    idle = built.plan.layout.named("base-b")
    for offset, length in ((idle.start, idle.size), (0, size)):
        run_tool("mke2fs", "-q", "-F", "-E", f"offset={offset}", backing, f"{length // 1024}k")
    old = tmp_path / "idle"
    with looped(backing) as loop:
        flash("write", built.image, loop.path, "--confirm", token(flash, built.image, loop.path))
    with backing.open("rb") as stream:
        stream.seek(idle.start)
        old.write_bytes(stream.read(idle.size))
    assert run_tool("wipefs", "-n", old) == ""


def test_mounted_file_system_on_a_loop_device_is_refused_twice(flash: Flash, built: Built, tmp_path: Path,
                                                               run_tool: RunTool) -> None:
    need_loops()
    backing, point = tmp_path / "card", tmp_path / "mounted"
    point.mkdir()
    with looped(backing, size=built.image.stat().st_size) as loop:
        run_tool("mke2fs", "-q", "-F", loop.path)
        free = SystemInventory().device(loop.path)
        run_tool("mount", loop.path, point)
        try:
            done = flash("write", built.image, loop.path, code=7)
            assert f"cannot write {loop.path}: in-use: it is mounted at {point}" in done.stderr
            assert f"hint: umount {loop.path}" in done.stderr
            with pytest.raises(RefusedError) as caught:  # by the kernel, had nobody looked
                SystemInventory().open(free, writable=True)
            assert caught.value.refusals[0].code is Code.IN_USE
        finally:
            run_tool("umount", point)


def test_accident_of_a_node_that_became_another_disk_is_refused(flash: Flash, built: Built, tmp_path: Path,
                                                                run_tool: RunTool) -> None:
    """A node was let go of and taken by somebody else, whose file system then was written over."""
    need_loops()
    mine, other, point = tmp_path / "mine", tmp_path / "other", tmp_path / "mounted"
    for path in (mine, other):
        with path.open("wb") as stream:
            stream.truncate(built.image.stat().st_size)
    run_tool("mke2fs", "-q", "-F", other)
    before = other.read_bytes()
    loop = attach(mine)
    confirmed = token(flash, built.image, loop.path)
    looked_at = SystemInventory().device(loop.path)
    detach(loop)
    try:
        taken = attach(other, number=loop.number)
    except OSError:
        pytest.skip("somebody else was quicker to take the node")
    try:
        done = flash("write", built.image, taken.path, "--confirm", confirmed, code=7)
        assert "identity-changed" in done.stderr
        with pytest.raises(RefusedError, match="identity-changed") as caught:
            SystemInventory().open(looked_at, writable=True)
        assert "disk sequence" in caught.value.message
        point.mkdir()
        run_tool("mount", "-o", "ro", taken.path, point)
        try:
            assert "in-use" in flash("write", built.image, taken.path, "--confirm", confirmed, code=7).stderr
        finally:
            run_tool("umount", point)
    finally:
        detach(taken)
    assert other.read_bytes() == before


def test_second_station_on_the_same_device_is_refused(built: Built, tmp_path: Path) -> None:
    need_loops()
    with looped(tmp_path / "card", size=64 * MIB) as loop:
        device = SystemInventory().device(loop.path)
        first = SystemInventory().open(device, writable=True)
        try:
            with pytest.raises(RefusedError) as caught:
                SystemInventory().open(device, writable=True)
            assert caught.value.refusals[0].code is Code.IN_USE
        finally:
            first.close()
        SystemInventory().open(device, writable=True).close()


def test_second_station_on_the_same_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out.img").write_bytes(bytes(MIB))
    device = SystemInventory().device(tmp_path / "out.img")
    first = SystemInventory().open(device, writable=True)
    with pytest.raises(RefusedError, match="another program has locked it"):
        SystemInventory().open(device, writable=True)
    first.close()


def test_lock_that_udev_holds_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    need_loops()
    with looped(tmp_path / "card", size=64 * MIB) as loop, Path(loop.path).open("rb") as udev:
        device = SystemInventory().device(loop.path)
        fcntl.flock(udev, fcntl.LOCK_SH)
        release = threading.Timer(0.5, fcntl.flock, (udev, fcntl.LOCK_UN))
        release.start()
        try:
            SystemInventory().open(device, writable=True).close()
        finally:
            release.join()


def test_odd_ends_of_several_threads_do_not_take_direct_access_from_each_other(tmp_path: Path) -> None:
    path = tmp_path / "out.img"
    path.write_bytes(bytes(MIB))
    held = SystemInventory().open(SystemInventory().device(path), writable=True)
    descriptor = next(int(item.name) for item in Path("/proc/self/fd").iterdir() if os.path.realpath(item) == str(path))
    if not fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("the disk of the tests has no direct access")
    failed: list[OSError] = []

    def write(start: int) -> None:
        try:
            for offset in range(start, start + 3000):
                held.write(offset, memoryview(b"odd"))
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(number * 4000,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT
    held.close()


def test_held_descriptor_keeps_the_identity_it_was_opened_with(tmp_path: Path) -> None:
    need_loops()
    with looped(tmp_path / "card", size=64 * MIB) as loop:
        device = SystemInventory().device(loop.path)
        held = SystemInventory().open(device, writable=True)
        try:
            bind(device, held.identity())
            assert held.identity().diskseq == int(loop.diskseq)
            assert held.identity().backing == str((tmp_path / "card").resolve())
        finally:
            held.close()


def test_image_of_512_byte_sectors_is_refused_on_a_disk_of_4096(flash: Flash, built: Built, tmp_path: Path) -> None:
    need_loops()
    with looped(tmp_path / "card", size=built.image.stat().st_size + MIB, sector=4096) as loop:
        assert "sector-size" in flash("write", built.image, loop.path, code=7).stderr


def test_ctrl_c_leaves_a_medium_that_does_not_boot_and_resume_finishes_it(flash: Flash, built: Built,
                                                                          tmp_path: Path) -> None:
    """A large file without a block map, so that there is time to press Ctrl-C."""
    image = tmp_path / "big.img"
    with image.open("wb") as stream:
        for _ in range(12):
            stream.write(os.urandom(1 << 20) * 64)
    env = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "PYTHONPATH": str(Path(__file__).parents[2])}
    target = tmp_path / "out.img"
    started = subprocess.Popen([sys.executable, "-m", "imagekit.cli", "flash", "write", image, target, "--foreign",
                                "--json"], env=env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    assert started.stdout is not None
    for line in started.stdout:
        if '"phase":"write"' in line:
            break
    while target.stat().st_blocks < 2 * 1024 * 64:
        time.sleep(0.01)
    started.send_signal(signal.SIGINT)
    rest, said = started.communicate(timeout=60)
    assert started.returncode == 130, said
    ended = next(json.loads(line) for line in rest.splitlines() if '"ended"' in line)
    assert (ended["result"], ended["state"]) == ("interrupted", "not-bootable")
    result, error = (json.loads(line) for line in rest.splitlines()[-2:])
    assert (result["event"], result["ok"]) == ("result", False)
    assert (error["event"], error["exit_code"], error["kind"]) == ("error", 130, "interrupted")
    assert not any(target.read_bytes()[:MIB])
    flash("write", image, target, "--foreign", "--resume", "--confirm", token(flash, image, target, "--foreign"))
    flash("verify", image, target, "--foreign")


def test_os_list_for_raspberry_pi_imager_has_the_digests_of_file_and_content(flash: Flash, built: Built,
                                                                             tmp_path: Path) -> None:
    for name in ("manifest.json", built.image.name, f"{built.image.name}.bmap"):
        (tmp_path / name).write_bytes((built.folder / name).read_bytes())
    flash("compress", built.image.name)
    packed = tmp_path / f"{built.image.name}.zst"
    flash("os-list", packed, "--url", "https://images.example.com/pc/", "--icon", "https://example.com/i.png")
    entry, = json.loads((tmp_path / "os_list.json").read_text())["os_list"]
    needed = {"name", "description", "icon", "url", "extract_size", "extract_sha256", "image_download_size",
              "release_date"}
    assert needed <= set(entry)
    assert entry["extract_sha256"] == hashlib.sha256(built.image.read_bytes()).hexdigest()
    assert entry["image_download_sha256"] == hashlib.sha256(packed.read_bytes()).hexdigest()
    assert (entry["extract_size"], entry["image_download_size"]) == (
        built.image.stat().st_size, packed.stat().st_size)
    assert entry["url"] == f"https://images.example.com/pc/{packed.name}"
    assert entry["bmap_url"] == f"https://images.example.com/pc/{built.image.name}.bmap"


def test_os_list_of_an_address_that_is_none_is_refused(flash: Flash, built: Built, tmp_path: Path) -> None:
    for url in ("images.example.com/pc", "ftp://images.example.com", "not a url", ""):
        assert "as the address of images" in flash("os-list", built.image, "--url", url, code=2).stderr
    assert not (tmp_path / "os_list.json").exists()
