"""`imagekit store` as a user runs it, and the commands of the how-to, word for word."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imagekit.assertions import decode_stream, parse_store
from imagekit.host.files import FolderLock
from imagekit.host.storeclient import connected
from imagekit.testing.documents import TESTS
from tests.tools.store_server import nginx

pytestmark = pytest.mark.tools
ROOT = Path(__file__).parents[2]
SMALL = TESTS / "unit" / "packages" / "erofs" / "flat.erofs"
FENCE = re.compile(r"^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)
Run = Callable[..., subprocess.CompletedProcess[str]]


def environment(folder: Path) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("IMAGEKIT")}
    return env | {"XDG_DATA_HOME": str(folder / "data"), "XDG_STATE_HOME": str(folder / "state"),
                  "PYTHONPATH": str(ROOT)}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def start(line: str, *more: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([sys.executable, "-m", "imagekit.cli", *line.split(), *map(str, more)], cwd=tmp_path,
                              text=True, capture_output=True, check=False, env=environment(tmp_path), timeout=120,
                              stdin=subprocess.DEVNULL)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done
    return start


WRONG_ADDRESSES = {
    "sync": "store sync http://a..b/x --dry-run", "sync, half": "store sync http://[::1/x --dry-run",
    "sync, no bucket": "store sync s3:///x --dry-run", "endpoint": "store sync s3://b/x --endpoint nonsense --dry-run",
    "endpoint, a label": "store sync s3://b/x --endpoint http://a..b/ --dry-run", "check": "store check --url http://[::1/",
    "describe": "store describe http://a..b/", "mirror": "store describe http://h/ --mirror http://h:99999/",
    "images": "flash os-list pyproject.toml --url http://a..b/",
    "fastboot": "board flash pyproject.toml --foreign --partition raw --fastboot tcp:a..b"}


@pytest.mark.parametrize("what", WRONG_ADDRESSES)
def test_address_that_cannot_be_asked_is_a_mistake_of_the_user(run: Run, tmp_path: Path, what: str) -> None:
    (tmp_path / "pyproject.toml").touch()  # stands for an image, which is not looked at
    told = run(WRONG_ADDRESSES[what], code=2).stderr
    assert re.search(r"cannot use '\S+' as the address of|it names no bucket", told), told


def package(folder: Path, name: str, revision: int) -> Path:
    """A package with a name of any length: snap.yaml is found in place, and the summary makes room."""
    path = folder / f"{name}_{revision}.snap"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(SMALL.read_bytes().replace(b"name: small", b"name: " + name.encode()[:5])
                     + f"{name}-{revision}".encode().ljust(4096, b"\0"))
    return path


@pytest.fixture
def store(run: Run, tmp_path: Path) -> Path:
    run("key create acme")
    for revision in (1, 2):
        run("sign", package(tmp_path, "small", revision), "-k", "acme")
    run("store init store --name acme")
    run("store publisher add acme --package small --key acme-online")
    return tmp_path / "store"


def status(run: Run) -> dict[str, object]:
    return dict(json.loads(run("store status --json").stdout))


def test_a_revision_goes_from_edge_to_everybody(run: Run, store: Path) -> None:
    run("store publish small_1.snap --channel stable")
    done = run("store publish small_2.snap --channel edge --class security --advisory fixed --json")
    assert json.loads(done.stdout)["published"] is True
    run("store promote small --from edge --to stable --percent 12.5")
    run("store release small 2 --channel stable --hold")
    found = status(run)["packages"][0]  # type: ignore[index]
    entry = next(item for item in found["channels"] if item["channel"] == "latest/stable")
    assert entry["releases"] == [{"revision": 2, "share": 1250, "held": True, "least": 0},
                                 {"revision": 1, "share": 10000, "held": False, "least": 0}]
    assert "12.5 %, held\n" in run("store status").stdout
    run("store release small 2 --channel stable --resume --percent 100")
    run("store revoke small 2 --reason bad")
    found = status(run)["packages"][0]  # type: ignore[index]
    assert [item["revision"] for item in found["channels"][0]["releases"]] == [1]
    again = run("store release small 1 --channel stable --resume")
    assert "nothing changes" in again.stderr
    assert "sound" in run("store check").stderr


def test_the_table_of_the_status_is_complete(run: Run, store: Path) -> None:
    run("store publish small_1.snap --channel stable --percent 5")
    text = run("store status").stdout
    assert re.search(r"small +latest/stable +all +1 +\S+ +feature +5 %", text)
    assert re.search(r"root +1 +1 of 2", text) and "publisher-acme" in text


def test_refusals_have_their_exit_codes(run: Run, store: Path, tmp_path: Path) -> None:
    run("store publish small_2.snap --channel edge")
    assert "revisions only go up" in run("store publish small_1.snap --channel edge", code=5).stderr
    (tmp_path / "small_3.snap").write_bytes(SMALL.read_bytes())
    assert "no snap-revision at hand" in run("store publish small_3.snap", code=4).stderr
    assert "say which revision" in run("store promote small --to stable", code=2).stderr
    assert "percent" in run("store publish small_2.snap --channel edge --percent 101", code=2).stderr
    for words in ("--percent 100", "--least 0"):
        assert "say which with --channel" in run(f"store publish small_3.snap {words}", code=2).stderr
    assert "to itself" in run("store promote small --from edge --to latest/edge", code=2).stderr
    assert "say why with --reason" in run("store revoke small 2 --reason", " ", code=2).stderr
    assert "goes with one REVISION" in run("store revoke small --below 2 --reason old", code=2).stderr
    assert "cannot read channel" in run("store publish small_2.snap --channel a/b", code=2).stderr
    assert "there is none" in run("store status --store nowhere", code=6).stderr
    assert "there is one" in run("store init store --name other", code=2).stderr
    assert not list((tmp_path / "data/imagekit/store-keys").glob("other*"))  # keys of what was not made are gone


def test_check_finds_what_was_damaged(run: Run, store: Path) -> None:
    run("store publish small_1.snap --channel stable")
    packed = next((store / "public/targets/packages/small").iterdir())
    packed.write_bytes(packed.read_bytes()[:-1] + b"x")
    done = run("store check --json", code=4)
    found = json.loads(done.stdout)
    assert found["sound"] is False
    assert [(item["level"], item["subject"]) for item in found["findings"] if item["level"] == "problem"] == [
        ("problem", "packages/small/small_1.snap.zst"), ("problem", "device")]
    packed.unlink()
    assert "is missing" in run("store check", code=4).stdout


def test_private_keys_are_for_their_owner_alone_and_never_shown(run: Run, store: Path, tmp_path: Path) -> None:
    keys = tmp_path / "data/imagekit/store-keys"
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    pems = sorted(keys.glob("*.pem"))
    assert len(pems) == 4 and all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in pems)
    secrets = [line for path in pems for line in path.read_text().splitlines() if "-" not in line]
    said = "".join(run(f"store {words}").stdout for words in ("status --json", "key list", "key list --json",
                                                               "key export acme-online"))
    logs = "".join(path.read_text() for path in (tmp_path / "state").rglob("*") if path.is_file())
    public = "".join(path.read_text(errors="replace") for path in (store / "public").rglob("*") if path.is_file())
    assert not [line for line in secrets if line in said + logs + public]
    pems[0].chmod(0o644)
    assert "others may get at it" in run("store key list", code=4).stderr


def test_signatures_travel_as_files(run: Run, store: Path, tmp_path: Path) -> None:
    keys, safe = tmp_path / "data/imagekit/store-keys", tmp_path / "safe"
    safe.mkdir()
    shutil.move(keys / "acme-targets-1.pem", safe)
    done = run("store publisher add acme --package small --package other --key acme-online")
    assert "not published yet" in done.stderr and "targets: 1 more of acme-targets-1" in done.stderr
    assert status(run)["pending"] == ["targets"]
    assert "waits for signatures" in run("store publish small_1.snap --channel edge", code=5).stderr
    run("store renew")  # devices do not wait for it
    shutil.copy(store / "pending/targets.json", tmp_path / "targets.json")
    shutil.move(safe / "acme-targets-1.pem", keys)
    assert "packages other small" in run("store sign targets.json -k acme-targets-1").stderr
    shutil.move(keys / "acme-targets-1.pem", safe)
    run("store apply targets.json")
    assert status(run)["pending"] == []
    run("store publish small_1.snap --channel edge")


def test_a_publishers_keys_are_exchanged_and_as_many_have_to_sign(run: Run, store: Path) -> None:
    for name in ("one", "two", "three"):
        run("store key create", name)
    add = "store publisher add acme --package small --key one"
    run(f"{add} --key two --threshold 2")
    run(f"{add} --key three")
    roles = {item["role"]: item for item in status(run)["roles"]}  # type: ignore[attr-defined]
    assert roles["publisher-acme"]["threshold"] == 2
    assert "2 signatures of 1 keys" in run(add, code=2).stderr
    run(f"{add} --threshold 1")
    roles = {item["role"]: item for item in status(run)["roles"]}  # type: ignore[attr-defined]
    assert roles["publisher-acme"]["threshold"] == 1


def test_names_that_a_publisher_loses_though_they_are_published_are_told(run: Run, store: Path) -> None:
    """`--package` replaces: who meant to add one name takes all others from every device."""
    run("store publish small_1.snap --channel stable")
    assert "no device finds small any more" in run("store publisher add acme --package smart").stderr
    assert "no device finds" not in run("store publisher add acme --package small --package smart").stderr


def test_sync_says_where_it_cannot_take_away(run: Run, store: Path, tmp_path: Path, program: Callable[[str], str]
                                             ) -> None:
    (tmp_path / "place").mkdir()
    with nginx(program("nginx"), tmp_path / "place", tmp_path / "nginx", dav=True) as url:
        said = run("store sync", url, "--delete").stderr
    assert "nothing is taken away there: WebDAV does not tell what lies there" in said


def test_sync_takes_nothing_away_where_the_store_never_was(run: Run, store: Path, tmp_path: Path) -> None:
    notes = tmp_path / "mine/metadata/notes.txt"
    notes.parent.mkdir(parents=True)
    notes.touch()
    assert "this store was never uploaded to it" in run("store sync mine --delete").stderr
    assert notes.exists()
    run("store sync mine --delete")  # now it is its place
    assert not notes.exists()
    assert "a folder, http(s)://, or s3:// is needed" in run("store sync", "", code=2).stderr


def test_check_without_roots_of_trust_says_what_it_did_not_verify(run: Run, store: Path, tmp_path: Path) -> None:
    run("store publish small_1.snap --channel stable")
    assert "no signature on a package" not in run("store check").stdout
    shutil.rmtree(tmp_path / "data/imagekit/trust")
    assert "warning: assertions: no signature on a package or a model was verified" in run("store check").stdout


def test_key_that_signs_online_and_publishes_is_told(run: Run, store: Path) -> None:
    assert "warning: publisher-acme: its key signs snapshot and timestamp too" in run("store check").stdout
    run("store key create acme-publisher")
    run("store publisher add acme --key acme-publisher")
    assert "publisher-acme" not in run("store check").stdout


def test_a_renewal_without_the_online_key_fails(run: Run, store: Path, tmp_path: Path) -> None:
    """Whoever runs it every day hears of it before devices do."""
    before = (store / "public/metadata/timestamp.json").read_bytes()
    (keys_of(tmp_path) / "acme-online.pem").unlink()
    assert "cannot sign snapshot and timestamp" in run("store renew", code=4).stderr
    assert status(run)["pending"] == []
    assert (store / "public/metadata/timestamp.json").read_bytes() == before


def test_lost_online_key_is_replaced_in_both_its_roles_at_once(run: Run, store: Path, tmp_path: Path) -> None:
    run("store publisher add acme --key acme-targets-1")
    (keys_of(tmp_path) / "acme-online.pem").unlink()
    run("store key create next")
    said = run("store key add next --role snapshot").stderr  # what the timestamp still wants is nowhere
    assert "timestamp: 1 more of acme-online" in said and "store sign" not in said
    assert "where the keys of timestamp are: imagekit store apply" in said
    run("store apply --discard")
    assert "not at hand" in run("store key add next --role snapshot --role timestamp").stderr
    run("store key remove acme-online --role snapshot --role timestamp")
    run("store publish small_1.snap --channel stable")
    assert "sound" in run("store check").stderr


def test_a_key_with_a_passphrase_signs_only_with_it(run: Run, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("long enough\n")
    (tmp_path / "wrong").write_text("something else\n")
    run("key create acme")
    run("store init store --name acme --passphrase-file secret")
    words = "store publisher add acme --package small --key acme-online"
    assert "no terminal to ask" in run(words, code=2).stderr
    assert "not the right one" in run(f"{words} --passphrase-file wrong", code=4).stderr
    run(f"{words} --passphrase-file secret")


@contextmanager
def served(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    process = subprocess.Popen([sys.executable, "-m", "imagekit.cli", "store", "serve", "--port", "0"], cwd=tmp_path,
                               text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(tmp_path))
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process
    finally:
        process.kill()
        process.communicate()


def test_serve_is_read_only_knows_ranges_and_ends_with_ctrl_c(run: Run, store: Path, tmp_path: Path) -> None:
    run("store publish small_1.snap --channel stable")
    with served(tmp_path) as (url, process):
        assert url.startswith("http://127.0.0.1:")
        whole = urllib.request.urlopen(f"{url}metadata/timestamp.json", timeout=10)
        assert whole.headers["Cache-Control"] == "public, max-age=60, must-revalidate"
        content = whole.read()
        part = urllib.request.urlopen(urllib.request.Request(
            f"{url}metadata/timestamp.json", headers={"Range": "bytes=10-"}), timeout=10)
        assert (part.status, part.read()) == (206, content[10:])
        for path, method in (("../store.json", "GET"), ("%2e%2e/store.json", "GET"), ("", "GET"), ("metadata", "GET"),
                             ("metadata/timestamp.json", "PUT"), ("metadata/timestamp.json", "DELETE")):
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(urllib.request.Request(url + path, method=method), timeout=10)
            assert caught.value.code in (404, 501)
        assert "sound" in run("store check --url", url).stderr
        shutil.copytree(store, tmp_path / "copy")
        run("store publish small_2.snap --channel stable --store copy")
        assert "small_2.snap.zst: a device does not find it: an older state is there" in run(
            "store check --store copy --url", url, code=4).stdout
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=10)
        assert process.returncode == 130 and "Traceback" not in said


def test_ctrl_c_while_a_store_is_made_leaves_no_keys(run: Run, tmp_path: Path) -> None:
    with FolderLock(tmp_path / "store"):  # it has made its keys, and waits
        process = subprocess.Popen([sys.executable, "-m", "imagekit.cli", "store", "init", "store", "--name", "acme"],
                                   cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   stdin=subprocess.DEVNULL, env=environment(tmp_path))
        until(lambda: (keys_of(tmp_path) / "acme-online.pem").exists(), process)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in said
    assert not list(keys_of(tmp_path).glob("acme*"))
    run("store init store --name acme")


def until(there: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until it is there; the process goes on meanwhile."""
    while not there():
        assert process.poll() is None
        time.sleep(0.01)


def how_to_lines() -> list[str]:
    """The commands of the how-to up to where it needs servers of others, as they stand there."""
    text = (ROOT / "docs/how-to/run-a-store.md").read_text()
    before = text.partition("## Several publishers")[0]
    upkeep = text.partition("## Upkeep")[2]
    return [line for block in FENCE.findall(before + upkeep) for line in block.splitlines() if line.strip()]


def test_the_commands_of_the_how_to_do_what_they_say(run: Run, tmp_path: Path, program: Callable[[str], str]) -> None:
    from tests.tools.store_packages import write_package

    run("key create acme")
    packages = tmp_path / "packages-out"
    for name in ("pc", "pc-kernel", "debian-13"):
        write_package(program("mkfs.erofs"), packages, name, 1)
        run("sign", packages / f"{name}_1.snap", "-k", "acme")
    shutil.copytree(ROOT / "models", tmp_path / "models")
    (tmp_path / "safe").mkdir()
    (tmp_path / "safe/passphrase").write_text("long enough\n")
    env = environment(tmp_path)
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "imagekit").write_text(f'#!/bin/sh\nexec {sys.executable} -m imagekit.cli "$@"\n')
    (tools / "imagekit").chmod(0o755)
    env["PATH"] = f"{tools}:{env['PATH']}"
    lines = how_to_lines()
    assert len(lines) > 25
    for line in lines:
        if line.startswith("imagekit store sign root.json"):
            shutil.move(keys_of(tmp_path) / "acme-root-a.pem", tmp_path)  # so that something waits
            shutil.move(keys_of(tmp_path) / "acme-root-b.pem", tmp_path)
            said = shell("imagekit store renew --all --offline --store fleet --passphrase-file safe/passphrase",
                         tmp_path, env)
            assert "root: 2 more" in said or "root: 1 more" in said
            shutil.copy(tmp_path / "fleet/pending/root.json", tmp_path)
            shutil.move(tmp_path / "acme-root-a.pem", keys_of(tmp_path))
            shutil.move(tmp_path / "acme-root-b.pem", keys_of(tmp_path))
            env["IMAGEKIT_PASSPHRASE_FILE"] = "safe/passphrase"  # a person would be asked
        shell(line, tmp_path, env)
    found = json.loads(shell("imagekit store check --store fleet --json", tmp_path, env))
    assert found["sound"] is True


def keys_of(folder: Path) -> Path:
    return folder / "data/imagekit/store-keys"


def shell(line: str, folder: Path, env: dict[str, str]) -> str:
    done = subprocess.run(["sh", "-c", line], cwd=folder, env=env, text=True, capture_output=True, check=False,
                          timeout=120, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"{line}: {done.stderr}"
    return done.stdout + ("" if "--json" in line else done.stderr)


def test_what_devices_need_is_a_draft_that_the_brand_signs(run: Run, store: Path, tmp_path: Path) -> None:
    run("store publish small_1.snap --channel stable")
    said = json.loads(run("store describe https://updates.example.com/fleet --id acme-fleet --json").stdout)
    assert (said["store"], said["root"], said["file"]) == ("acme-fleet", 1, "acme-fleet.yaml")
    run("sign acme-fleet.yaml -k acme")
    [assertion] = [item for item in decode_stream((tmp_path / "acme-fleet.store").read_bytes(), name="test")
                   if item.type == "store"]
    found = parse_store(assertion)
    assert (found.store, found.operator_id, found.url) == ("acme-fleet", "acme", "https://updates.example.com/fleet")
    with connected(store / "public", assertion.body) as client:  # a device begins with what was signed
        assert client.find("channels/small.json") is not None


@pytest.mark.parametrize("url", ["updates.example.com", "ftp://updates.example.com", "https://", "https://a/?b"])
def test_address_that_no_device_could_ask_is_refused(run: Run, store: Path, url: str) -> None:
    assert "as the address of a store" in run("store describe", url, code=2).stderr


@pytest.mark.parametrize("words", ["store describe", "store check --url"])
def test_address_with_a_password_is_not_signed_nor_repeated(run: Run, words: str) -> None:
    said = run(words, "https://me:secret@example.org/", code=2).stderr
    assert "cannot take credentials in a URL" in said
    assert "secret" not in said


def test_store_that_moves_says_so_in_a_later_revision(run: Run, store: Path, tmp_path: Path) -> None:
    run("store publish small_1.snap --channel stable")
    said = run("store describe https://new.example.com --id acme-fleet --mirror https://mirror.example.org --revision 1"
               " --json")
    assert (json.loads(said.stdout)["mirrors"], json.loads(said.stdout)["revision"]) == (
        ["https://mirror.example.org"], 1)
    run("sign acme-fleet.yaml -k acme")
    assert "publish it alone" in run("store publish acme-fleet.store small_1.snap", code=2).stderr
    run("store publish acme-fleet.store")
    with connected(store / "public", (store / "public/metadata/1.root.json").read_bytes()) as client:
        target = client.find("stores/acme-fleet.assert")
        assert target is not None
        [assertion] = [item for item in decode_stream(client.fetch(target).read_bytes(), name="test")
                       if item.type == "store"]
    found = parse_store(assertion)
    assert (found.url, found.mirrors, assertion.revision) == (
        "https://new.example.com", ("https://mirror.example.org",), 1)
    assert "revision 1 is published" in run("store publish acme-fleet.store", code=5).stderr


def test_newer_model_is_published_alone_and_shown(run: Run, store: Path, tmp_path: Path) -> None:
    draft = (ROOT / "models/pc-demo.yaml").read_text()
    for revision in (1, 2):
        (tmp_path / f"pc-{revision}.yaml").write_text(f"{draft}revision: {revision}\n")
        run(f"sign pc-{revision}.yaml -k acme -o pc-{revision}.model")
    assert "publish it alone" in run("store publish pc-1.model --channel edge", code=2).stderr
    run("store publish pc-2.model")
    assert status(run)["models"] == [{"brand": "acme", "model": "pc-demo", "revision": 2, "grade": "signed"}]
    assert "acme/pc-demo" in run("store status").stdout
    assert "revision 2 is published" in run("store publish pc-1.model", code=5).stderr
    assert "sound" in run("store check").stderr
