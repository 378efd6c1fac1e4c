"""`imagekit key` as a user meets it: keys taken over, keys of programs, and whose they are."""

from __future__ import annotations

import json
import os
import pty
import select
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from imagekit.assertions import Database, decode_one, decode_stream, parse_account_key
from imagekit.host.clock import SystemClock
from imagekit.keys import PrivateKey
from imagekit.testing.documents import MODEL_DRAFT, TESTS, signing_key
from imagekit.testing.openpgp import export

Run = Callable[..., subprocess.CompletedProcess[str]]
GNUPG = TESTS / "keys" / "gnupg"
SIGNER = f"""\
#!{sys.executable}
import base64, json, sys
from cryptography.hazmat.primitives.asymmetric import padding, utils
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.serialization import load_pem_private_key
request = json.loads(sys.stdin.readline())
print(request["what"], file=sys.stderr)
key = load_pem_private_key(open("{TESTS}/keys/TEST-ONLY-" + sys.argv[1] + ".pem", "rb").read(), None)
signature = key.sign(bytes.fromhex(request["digest"]), padding.PKCS1v15(), utils.Prehashed(SHA512()))
print(json.dumps({{"signature": base64.b64encode(signature).decode()}}))
"""


@pytest.fixture
def signer(tmp_path: Path) -> Path:
    """A program that has the test keys."""
    path = tmp_path / "my signer"
    path.write_text(SIGNER)
    path.chmod(0o755)
    for name in ("brand", "stranger"):
        pem = signing_key(name).rsa.public_key()
        (tmp_path / f"{name}.pem").write_bytes(pem.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


@pytest.fixture
def hsm(run: Run, signer: Path) -> str:
    """A key of the keyring that the program has."""
    run("key", "add", "hsm", "--signer", "'./my signer' stranger", "--public", "stranger.pem")
    return "hsm"


def test_key_of_a_program_becomes_a_root_and_signs_a_model(run: Run, hsm: str, tmp_path: Path, home: Path) -> None:
    run("key", "vouch", hsm, "--brand", "acme", "--since", "2025-01-01T00:00:00Z")
    assert sorted(path.name for path in (home / "trust").iterdir()) == ["acme.account", "hsm.account-key"]
    (tmp_path / "pc.yaml").write_text(MODEL_DRAFT)
    signed = run("sign", "pc.yaml", "-k", hsm)
    assert signed.stderr.startswith("model 16/acme/pc\n"), "the program was told what it signs, and is heard"
    assert run("verify", "pc.model").stdout.count(": verified (") == 2
    listed = run("key", "list").stdout.splitlines()[1].split()
    assert listed[:5] == ["hsm", "acme", "external", "4096", "-"]
    shown = run("key", "show", hsm).stdout
    assert "kind: external\n" in shown and "my signer stranger\n" in shown and "timeout: 120 s" in shown


def test_two_results_of_one_name_are_refused_and_the_first_stays(run: Run, acme: str, tmp_path: Path) -> None:
    for folder in ("one", "two", "out"):
        (tmp_path / folder).mkdir()
    (tmp_path / "one/pc.yaml").write_text(MODEL_DRAFT)
    (tmp_path / "two/pc.yaml").write_text(MODEL_DRAFT + "display-name: two\n")
    done = run("sign", "one/pc.yaml", "two/pc.yaml", "-k", acme, "-o", "out", code=2)
    assert "cannot sign two/pc.yaml: out/pc.model is the result of another of these files" in done.stderr
    assert "display-name: two" not in (tmp_path / "out/pc.model").read_text()


def test_key_of_a_program_as_json(run: Run, hsm: str, signer: Path, home: Path) -> None:
    shown = json.loads(run("key", "show", hsm, "--json").stdout)
    assert shown == {"name": "hsm", "kind": "external", "key_id": signing_key("stranger").public.key_id, "bits": 4096,
                     "passphrase": False, "file": str(home / "keys" / "hsm.signer"), "account_keys": [],
                     "program": {"argv": [str(signer), "stranger"], "timeout_s": 120.0}}


def test_program_with_another_key_is_a_failure_of_trust_and_nothing_is_written(
        run: Run, signer: Path, home: Path, tmp_path: Path) -> None:
    run("key", "add", "hsm", "--signer", "'./my signer' brand", "--public", "stranger.pem")
    assert "not a signature by key" in run("key", "check", "hsm", code=4).stderr
    assert "not a signature by key" in run("key", "vouch", "hsm", code=4).stderr
    assert not (home / "trust").exists()


def test_program_that_went_away_is_the_hosts_fault(run: Run, hsm: str, signer: Path) -> None:
    signer.unlink()
    assert "it is not there" in run("key", "check", hsm, code=6).stderr
    assert json.loads(run("key", "check", hsm, "--json", code=6).stdout)["error"]["exit_code"] == 6


def test_check_tells_that_a_key_signs(run: Run, hsm: str, acme: str) -> None:
    checked = run("key", "check", hsm)
    assert checked.stdout == "" and checked.stderr == "a test text\nkey hsm signs\n"
    assert json.loads(run("key", "check", acme, "--json").stdout)["signs"] is True


def test_short_key_of_a_program_is_not_added(run: Run, signer: Path, tmp_path: Path) -> None:
    short = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    (tmp_path / "short.pem").write_bytes(short.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    failed = run("key", "add", "hsm", "--signer", "'./my signer'", "--public", "short.pem", code=4)
    assert "it has 2048 bits, at least 4096" in failed.stderr


def test_timeout_of_a_program_is_kept(run: Run, signer: Path, tmp_path: Path) -> None:
    (tmp_path / "slow").write_text("#!/bin/sh\nsleep 100\n")
    (tmp_path / "slow").chmod(0o755)
    run("key", "add", "hsm", "--signer", "./slow", "--public", "brand.pem", "--timeout", "0.3")
    assert "did not end within 0.3 s" in run("key", "check", "hsm", code=6).stderr


def test_key_of_snap_create_key_is_taken_over_and_signs(run: Run, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("test only\n")
    imported = run("key", "import", GNUPG / "TEST-ONLY-protected.gpg", "--name", "old", "--passphrase-file", "secret")
    assert "say it with `imagekit key vouch old`" in imported.stderr
    run("key", "vouch", "old", "--brand", "acme", "--passphrase-file", "secret")
    (tmp_path / "pc.yaml").write_text(MODEL_DRAFT)
    run("sign", "pc.yaml", "-k", "old", "--passphrase-file", "secret")
    assert run("verify", "pc.model").stdout.count(": verified (") == 2


def test_key_is_taken_from_stdin_so_that_it_lies_in_no_file(run: Run, home: Path) -> None:
    raw = (GNUPG / "TEST-ONLY-plain.asc").read_text()
    assert "needs a name" in run("key", "import", "-", stdin=raw, code=2).stderr
    key_id = run("key", "import", "-", "--name", "old", stdin=raw).stdout.strip()
    assert len(key_id) == 64 and stat.S_IMODE((home / "keys" / "old.pem").stat().st_mode) == 0o600
    assert "no terminal to ask" in run("key", "import", GNUPG / "TEST-ONLY-protected.gpg", code=2).stderr


def test_passphrase_comes_through_a_descriptor(run: Run, tmp_path: Path, home: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"test only\n")
    os.close(writer)
    env = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "data"), "XDG_STATE_HOME": str(tmp_path / "state")}
    subprocess.run([sys.executable, "-m", "imagekit.cli", "key", "import", str(GNUPG / "TEST-ONLY-protected.gpg"),
                    "--name", "old", "--passphrase-file", f"/dev/fd/{reader}"], env=env, pass_fds=(reader,), check=True,
                   capture_output=True, stdin=subprocess.DEVNULL)
    os.close(reader)
    assert b"ENCRYPTED" in (home / "keys" / "old.pem").read_bytes()


def test_one_of_several_keys_is_named(run: Run, tmp_path: Path) -> None:
    raw = export(signing_key("brand"), user_id="acme") + export(signing_key("stranger"), user_id="other")
    (tmp_path / "both.gpg").write_bytes(raw)
    failed = run("key", "import", "both.gpg", code=2)
    assert "holds 2 keys" in failed.stderr and "'acme'\n" in failed.stderr and "--key-id" in failed.stderr
    assert run("key", "import", "both.gpg", "--key-id", "other").stdout.strip() == signing_key("stranger").public.key_id


SHORT = PrivateKey(rsa=rsa.generate_private_key(public_exponent=65537, key_size=3072))


@pytest.mark.parametrize(("raw", "code", "text"), [
    ((GNUPG / "TEST-ONLY-public.asc").read_bytes(), 3, "holds public keys only"),
    ((GNUPG / "TEST-ONLY-curve.asc").read_bytes(), 3, "no RSA key that can be opened"),
    ((GNUPG / "TEST-ONLY-protected.gpg").read_bytes(), 4, "the passphrase is not the right one"),
    ((GNUPG / "TEST-ONLY-protected.gpg").read_bytes()[:1500], 3, "cut short"),
    ((GNUPG / "TEST-ONLY-plain.asc").read_bytes()[:1500], 3, "cut short"),
    ((GNUPG / "TEST-ONLY-plain.asc").read_bytes().replace(b"\nl", b"\nm", 1), 3, "checksum"),
    (export(signing_key("brand"))[:-20] + b"\0" + export(signing_key("brand"))[-19:], 3, "checksum is wrong"),
    (export(SHORT), 4, "it has 3072 bits, at least 4096"),
    ((GNUPG / "TEST-ONLY-plain.asc").read_bytes().replace(b"PRIVATE KEY BLOCK", b"MESSAGE"), 3, "a PGP MESSAGE"),
], ids=["public", "curve", "passphrase", "cut", "armour cut", "armour", "checksum", "short", "message"])
def test_export_that_gives_no_key_is_told_with_its_exit_code(
        run: Run, home: Path, tmp_path: Path, raw: bytes, code: int, text: str) -> None:
    (tmp_path / "key").write_bytes(raw)
    (tmp_path / "wrong").write_text("tset only\n")
    failed = run("key", "import", "key", "--passphrase-file", "wrong", code=code)
    assert text in failed.stderr and "tset only" not in failed.stderr
    assert run("key", "list").stdout == ""


def test_second_key_is_made_under_a_root_and_ended(run: Run, acme: str, home: Path, tmp_path: Path) -> None:
    run("key", "create", "second", "--by", acme, "--until", "2040-01-01T00:00:00Z")
    shown = json.loads(run("key", "show", "second", "--json").stdout)["account_keys"][0]
    assert (shown["account_id"], shown["self_signed"], shown["revision"]) == ("acme", False, 0)
    assert shown["sign_key"] == signing_key("brand").public.key_id and shown["until"] == "2040-01-01T00:00:00Z"
    (tmp_path / "pc.yaml").write_text(MODEL_DRAFT)
    run("sign", "pc.yaml", "-k", "second")
    assert "account-key" in run("verify", "pc.model").stdout
    assert run("key", "renew", "second", "--forever").stdout == f"{home}/trust/second.account-key\n"
    longer = run("verify", "pc.model").stdout  # what it signed stays good, the older key within is no fault
    assert "replaced: its revision 0 was replaced by revision 1" in longer
    run("key", "export", "second", "-o", "second.account-key")
    assert run("key", "expire", "second").stdout == f"{home}/trust/second.account-key\n"
    run("verify", "second.account-key", code=4)
    failed = run("verify", "pc.model", code=4)
    assert "expired at" in failed.stdout + failed.stderr
    assert "was replaced by revision 2" in failed.stdout + failed.stderr
    assert "is not within the validity" in run("sign", "pc.yaml", "-k", "second", code=4).stderr
    exported = parse_account_key(decode_one(run("key", "export", "second").stdout.encode(), name="x"))
    assert exported.assertion.revision == 2 and exported.until is not None and exported.until <= SystemClock().now()


def test_end_of_a_key_goes_into_a_file_for_others_too(run: Run, acme: str, tmp_path: Path, home: Path) -> None:
    told = json.loads(run("key", "renew", acme, "--until", "2031-01-01T00:00:00Z", "-o", "new.account-key",
                          "--json").stdout)
    assert told["result"] == "new.account-key" and told["revision"] == 1
    assert (home / "trust" / "acme.account-key").read_bytes() == (tmp_path / "new.account-key").read_bytes()
    key = parse_account_key(decode_one((tmp_path / "new.account-key").read_bytes(), name="x"))
    assert key.until is not None and key.until.year == 2031


def test_key_that_another_key_vouches_for_is_changed_by_its_owner_only(run: Run, acme: str, home: Path) -> None:
    run("key", "import", GNUPG / "TEST-ONLY-plain.asc", "--name", "second")
    run("key", "vouch", "second", "--by", acme)
    for suffix in (".pem", ".pub"):
        (home / "keys" / f"acme{suffix}").unlink()
    failed = run("key", "expire", "second", code=2)
    assert "which vouches for it, is not among yours" in failed.stderr


def test_what_is_vouched_for_goes_into_a_folder_as_what_is_changed_does(run: Run, acme: str, tmp_path: Path) -> None:
    """Else the root would be made, and the command fail."""
    (tmp_path / "out").mkdir()
    run("key", "import", GNUPG / "TEST-ONLY-plain.asc", "--name", "second")
    assert run("key", "vouch", "second", "--by", acme, "-o", "out").stdout == "out/second.account-key\n"
    assert {item.type for item in decode_stream((tmp_path / "out/second.account-key").read_bytes(), name="x")} \
        >= {"account-key"}
    assert run("key", "renew", "second", "--until", "2031-01-01T00:00:00Z", "-o", "out").stdout \
        == "out/second.account-key\n"


def test_key_whose_making_is_interrupted_is_not_left_behind(run: Run, hsm: str, home: Path, signer: Path) -> None:
    run("key", "vouch", hsm, "--brand", "acme", "--since", "2025-01-01T00:00:00Z")
    before = sorted(path.name for path in (home / "keys").iterdir())
    signer.write_text(f"#!{sys.executable}\nimport os, signal, time\nos.kill(os.getppid(), signal.SIGINT)\n"
                      "time.sleep(100)\n")  # as who presses Ctrl-C where a token's program asks for its PIN
    run("key", "create", "second", "--by", hsm, code=130)
    assert sorted(path.name for path in (home / "keys").iterdir()) == before
    assert sorted(path.name for path in (home / "trust").iterdir()) == ["acme.account", "hsm.account-key"]


def test_brand_under_a_root_gets_its_account_too(run: Run, acme: str, home: Path, tmp_path: Path) -> None:
    run("key", "import", GNUPG / "TEST-ONLY-plain.asc", "--name", "other")
    run("key", "vouch", "other", "--by", acme, "--brand", "other-brand")
    assert (home / "trust" / "other-brand.account").is_file()
    (tmp_path / "pc.yaml").write_text(MODEL_DRAFT)
    run("sign", "pc.yaml", "-k", "other")
    found = decode_stream((tmp_path / "pc.model").read_bytes(), name="x")
    assert {item.text("account-id") for item in found if item.type == "account"} == {"acme", "other-brand"}
    database = Database([item for item in found if item.text("name") == "root"])
    for item in found[1:]:
        database.add(item)
    database.verify(found[0], now=SystemClock().now())


@pytest.mark.parametrize(("args", "code", "text"), [
    (("key", "vouch", "acme"), 2, "says already that it is acme's"),
    (("key", "renew", "acme"), 2, "name one of --until TIME and --forever"),
    (("key", "renew", "acme", "--forever"), 2, "it has no end already"),
    (("key", "renew", "acme", "--until", "2020-01-01T00:00:00Z"), 2, "it begins 2025-01-01"),
    (("key", "renew", "acme", "--until", "2040-01-01T00:00:00Z", "--forever"), 2, "--forever"),
    (("key", "expire", "absent"), 4, "no account-key in your folders of trust has it"),
    (("key", "create", "n", "--by", "absent"), 2, "there is acme"),
    (("key", "add", "n", "--signer", "no-such-program", "--public", "p"), 3, "not a public key"),
    (("key", "import", "p", "--name", "n", "--key-id", "x"), 2, "only an export of GnuPG's"),
    (("key", "export", "acme", "--public", "--brand", "x"), 2, "belong to --request"),
    (("key", "vouch"), 2, "without knowing which"),
    (("key", "vouch", "acme", "--request", "p"), 2, "without knowing which"),
    (("key", "vouch", "--request", "p"), 2, "only a root can"),
    (("key", "vouch", "--request", "p", "--by", "acme"), 3, "before a blank line"),
])
def test_misuse_is_told_with_its_exit_code(
        run: Run, acme: str, tmp_path: Path, args: tuple[str, ...], code: int, text: str) -> None:
    (tmp_path / "p").write_text("junk\n")
    assert text in run(*args, code=code).stderr


def test_key_that_nobody_vouches_for_has_no_end_to_change(run: Run) -> None:
    run("key", "import", GNUPG / "TEST-ONLY-plain.asc", "--name", "old")
    assert "no account-key in your folders" in run("key", "expire", "old", code=4).stderr


def test_key_made_elsewhere_is_vouched_for_on_its_request(
        run: Run, acme: str, home: Path, tmp_path: Path) -> None:
    """The key is made on another machine; what goes to and fro is public."""
    there = {"XDG_DATA_HOME": str(tmp_path / "there")}
    run("key", "import", GNUPG / "TEST-ONLY-plain.asc", "--name", "factory", **there)
    run("key", "export", "factory", "--request", "--brand", "acme", "--until", "2041-01-01T00:00:00Z", "-o", "request",
        **there)
    assert "PRIVATE" not in (tmp_path / "request").read_text()
    refused = run("key", "vouch", "--request", "request", "--by", acme, "--brand", "other", code=4)
    assert "it asks for a key of 'acme', not of 'other'" in refused.stderr
    told = json.loads(run("key", "vouch", "--request", "request", "--by", acme, "-o", "answer.account-key",
                          "--json").stdout)
    assert (told["account_id"], told["name"], told["until"]) == ("acme", "factory", "2041-01-01T00:00:00Z")
    assert "says already" in run("key", "vouch", "--request", "request", "--by", acme, code=2).stderr
    run("trust", "add", home / "trust" / "acme.account-key", home / "trust" / "acme.account", **there)
    run("trust", "add", "answer.account-key", **there)
    (tmp_path / "pc.yaml").write_text(MODEL_DRAFT)
    run("sign", "pc.yaml", "-k", "factory", **there)
    assert ": verified (" in run("verify", "pc.model").stdout
    run("key", "expire", "factory", "-o", "ended.account-key")
    assert "expired" in run("verify", "pc.model", "ended.account-key", code=4, **there).stdout


def test_request_that_another_key_signed_is_refused(run: Run, acme: str, tmp_path: Path) -> None:
    run("key", "export", acme, "--request", "-o", "request")
    raw = (tmp_path / "request").read_bytes()
    (tmp_path / "request").write_bytes(raw.replace(b"account-id: acme", b"account-id: evil"))
    refused = run("key", "vouch", "--request", "request", "--by", acme, "--brand", "evil", code=4)
    assert "changed after it was signed" in refused.stderr


def test_public_part_is_exported_for_others(run: Run, acme: str, hsm: str) -> None:
    for name, key in ((acme, "brand"), (hsm, "stranger")):
        found = load_pem_public_key(run("key", "export", name, "--public").stdout.encode())
        assert isinstance(found, rsa.RSAPublicKey) and found.public_numbers().n == signing_key(key).public.n
    assert "has it" in run("key", "export", hsm, "--private", code=2).stderr


def test_private_part_is_printed_at_a_terminal_only_after_a_yes(run: Run, acme: str, tmp_path: Path) -> None:
    env = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "data"), "XDG_STATE_HOME": str(tmp_path / "state")}
    for answer, status in ((b"n\n", 130), (b"y\n", 0)):
        master, slave = pty.openpty()
        process = subprocess.Popen([sys.executable, "-m", "imagekit.cli", "key", "export", acme, "--private"],
                                   stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True)
        os.close(slave)
        os.write(master, answer)
        shown = b""
        while select.select([master], [], [], 60)[0]:
            try:
                shown += os.read(master, 65536)
            except OSError:
                break
        os.close(master)
        assert process.wait() == status and b"Print it?" in shown
        assert (b"BEGIN PRIVATE KEY" in shown) == (status == 0)
    assert "BEGIN PRIVATE KEY" in run("key", "export", acme, "--private", "--yes").stdout


def test_keys_of_programs_complete_by_name(run: Run, hsm: str, acme: str) -> None:
    done = run(_IMAGEKIT_COMPLETE="bash_complete", COMP_WORDS="imagekit key check ", COMP_CWORD="3")
    assert [line.partition(",")[2] for line in done.stdout.splitlines()] == ["acme", "hsm"]
