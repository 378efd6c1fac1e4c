"""Keys that a program has: one that does its work, and those that lie, hang, flood, fail and talk rubbish."""

from __future__ import annotations

import base64
import json
import os
import pty
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from imagekit.errors import DocumentError, HostError, TrustError, UsageError
from imagekit.host.signer import ExternalKey, Program, parse_program, program_from
from imagekit.keys import PublicKey, Signer, sign_content, verify_signature
from imagekit.testing.documents import SIGNED, TESTS, signing_key
from tests.patience import patience

KEY = signing_key("brand")
CONTENT = b"type: model\nmodel: pc"

# What a program of an OEM's is, with the key in a file in the place of a token.
HONEST = """\
import base64, json, sys
from cryptography.hazmat.primitives.asymmetric import padding, utils
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.serialization import load_pem_private_key
request = json.loads(sys.stdin.readline())
key = load_pem_private_key(open({key!r}, "rb").read(), None)
digest = bytes.fromhex(request["digest"])
signature = key.sign({digest}, padding.PKCS1v15(), utils.Prehashed(SHA512()))
print(json.dumps({{"signature": base64.b64encode(signature).decode()}}))
"""

Make = Callable[..., Signer]


@pytest.fixture
def made(tmp_path: Path) -> Make:
    """A key whose program is this script."""

    def make(script: str, *args: str, shell: bool = True, timeout_s: float = 20.0) -> Signer:
        path = tmp_path / "signer"
        path.write_text(("#!/bin/sh\n" if shell else f"#!{sys.executable}\n") + script)
        path.chmod(0o755)
        return ExternalKey(public=KEY.public, program=Program(argv=(str(path), *args), timeout_s=timeout_s))

    return make


def honest(name: str = "brand", digest: str = "digest") -> str:
    return HONEST.format(key=str(TESTS / "keys" / f"TEST-ONLY-{name}.pem"), digest=digest)


def sign(signer: Signer, what: str = "model 16/acme/pc revision 3") -> bytes:
    return sign_content(signer, CONTENT, created=SIGNED, what=what)


def test_program_signs_as_the_key_in_memory_does(made: Make) -> None:
    signature = sign(made(honest(), shell=False))
    assert signature == sign(KEY)
    verify_signature(KEY.public, CONTENT, signature)


def test_program_is_told_what_it_signs_in_one_line(made: Make, tmp_path: Path) -> None:
    with pytest.raises(HostError):
        sign(made(f"cat > {tmp_path / 'seen'}; echo '{{}}'"))
    raw = (tmp_path / "seen").read_bytes()
    assert raw.count(b"\n") == 1 and raw.endswith(b"\n")
    seen = json.loads(raw)
    assert set(seen) == {"imagekit-signer", "key_id", "algorithm", "digest", "digest_info", "what"}
    assert (seen["imagekit-signer"], seen["algorithm"]) == (1, "rsa-pkcs1v15-sha512")
    assert (seen["key_id"], seen["what"]) == (KEY.public.key_id, "model 16/acme/pc revision 3")
    assert base64.b64decode(seen["digest_info"]) == bytes.fromhex(
        "3051300d060960864801650304020305000440" + seen["digest"]) and len(seen["digest"]) == 128


def test_long_and_odd_subject_is_cut_and_cleaned(made: Make, tmp_path: Path) -> None:
    with pytest.raises(HostError):
        sign(made(f"cat > {tmp_path / 'seen'}"), what="model \x1b[2J" + "x" * 100_000)
    assert json.loads((tmp_path / "seen").read_bytes())["what"] == "model ?[2J" + "x" * 190


def test_arguments_are_passed_as_they_are_without_a_shell(made: Make, tmp_path: Path) -> None:
    signer = made(f'printf "%s\\n" "$@" > {tmp_path / "seen"}', "a b", "$(touch x)", "; exit", "*")
    with pytest.raises(HostError):
        sign(signer)
    assert (tmp_path / "seen").read_text() == "a b\n$(touch x)\n; exit\n*\n"


@pytest.mark.parametrize(("script", "kind", "reason"), [
    (honest("stranger"), TrustError, "what came back is not a signature by key"),
    (honest(digest="bytes(64)"), TrustError, "what came back is not a signature by key"),
], ids=["another key", "another digest"])
def test_signature_that_is_another_one_is_found_out(
        made: Make, script: str, kind: type[Exception], reason: str) -> None:
    with pytest.raises(kind, match=reason):
        sign(made(script, shell=False))


def answering(**answer: object) -> str:
    return f"cat >/dev/null; echo '{json.dumps(answer)}'"


def coded(size: int) -> str:
    return base64.b64encode(b"\x01" * size).decode()


@pytest.mark.parametrize(("script", "kind", "reason"), [
    (answering(signature=coded(512)), TrustError, "what came back is not a signature"),
    (answering(signature=coded(511)), TrustError, "gave 511 bytes, a signature of this key has 512"),
    (answering(signature=coded(513)), TrustError, "gave 513 bytes"),
    (answering(signature=""), TrustError, "gave 0 bytes"),
    (answering(signature="%%%"), HostError, "no base64"),
    (answering(signature="\u00e4"), HostError, "no base64"),
    (answering(signature=7), HostError, "cannot be understood"),
    (answering(error="the token is locked"), HostError, "refused: the token is locked"),
    (answering(error="no \x1b[2Jcard", signature=coded(512)), HostError, r"refused: no \?\[2Jcard"),
    (answering(error="bad PIN") + "; exit 3", HostError, "refused: bad PIN"),
    (answering(signature=coded(512)) + "; exit 3", HostError, "failed with exit status 3"),
    ("exit 1", HostError, "failed with exit status 1"),
    ("kill -9 $$", HostError, "failed with signal 9"),
    ("true", HostError, r"cannot be understood \(0 bytes\)"),
    ("echo rubbish", HostError, r"cannot be understood \(8 bytes\)"),
    ("echo '[]'", HostError, "cannot be understood"),
    ("printf '\\377\\376\\000'", HostError, r"cannot be understood \(3 bytes\)"),
    ("head -c 60000 /dev/zero | tr '\\0' '['", HostError, "cannot be understood"),
    (answering(signature=coded(512)) + "; echo '{}'", HostError, "cannot be understood"),
    ("cat /dev/zero", HostError, "says more than 65536 bytes"),
    ("exec <&-; sleep 0.1; " + answering(error="deaf"), HostError, "deaf"),
])
def test_program_that_gives_no_signature_is_told_as_what_it_did(
        made: Make, script: str, kind: type[Exception], reason: str) -> None:
    with pytest.raises(kind, match=reason) as caught, patience(waits=True):
        sign(made(script))
    assert caught.type is kind and "cannot sign model 16/acme/pc revision 3" in str(caught.value)


def alive(path: Path) -> bool:
    """Whether the process whose number a script wrote there still runs."""
    try:
        return Path(f"/proc/{path.read_text().strip()}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("script", [
    "sleep 1000", "exec >&-; sleep 1000", "trap '' TERM; sleep 1000; sleep 1000", "echo '{'; sleep 1000",
], ids=["silent", "without output", "deaf to SIGTERM", "in the middle of its answer"])
def test_program_that_hangs_is_ended_with_all_that_it_started(made: Make, tmp_path: Path, script: str) -> None:
    pid, inner = tmp_path / "pid", tmp_path / "inner"
    with pytest.raises(HostError, match=r"did not end within 0\.3 s") as caught, patience(waits=True):
        sign(made(f"sleep 1000 & echo $! > {inner}; echo $$ > {pid}\n{script}", timeout_s=0.3))
    assert "--timeout" in (caught.value.hint or "")
    assert not alive(pid) and not alive(inner)


def test_answer_counts_although_something_left_behind_holds_the_pipe(made: Make, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    with pytest.raises(HostError, match="refused: left"):
        sign(made(f"sleep 20 & echo $! > {inner}; {answering(error='left')}"))
    os.kill(int(inner.read_text()), signal.SIGKILL)


def test_a_program_is_asked_once_whatever_it_answers(made: Make, tmp_path: Path) -> None:
    with pytest.raises(TrustError):
        sign(made(f"echo asked >> {tmp_path / 'seen'}; {answering(signature=coded(512))}"))
    assert (tmp_path / "seen").read_text() == "asked\n"


def test_program_has_the_users_environment_and_standard_error(
        made: Make, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOFTHSM2_CONF", "/somewhere")
    with pytest.raises(HostError):
        sign(made('echo "conf: $SOFTHSM2_CONF" >&2'))
    assert capfd.readouterr().err == "conf: /somewhere\n"


def test_program_that_is_missing_or_may_not_run_is_the_hosts_fault(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("#!/bin/sh\n")
    for name in (str(tmp_path / "absent"), str(tmp_path / "plain"), "no-such-program-anywhere", str(tmp_path)):
        with pytest.raises(HostError, match="it is not there, or may not be run"):
            sign(ExternalKey(public=KEY.public, program=Program(argv=(name,))))
    (tmp_path / "broken").write_text("#!/no/such/interpreter\n")
    (tmp_path / "broken").chmod(0o755)
    with pytest.raises(HostError, match="cannot be started"):
        sign(ExternalKey(public=KEY.public, program=Program(argv=(str(tmp_path / "broken"),))))


def test_program_that_everybody_may_change_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "signer").write_text("#!/bin/sh\n")
    (tmp_path / "signer").chmod(0o757)
    with pytest.raises(TrustError, match=r"everybody may write to it \(mode 0757\)"):
        sign(ExternalKey(public=KEY.public, program=Program(argv=(str(tmp_path / "signer"),))))


def test_program_in_the_current_folder_is_not_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "signer").write_text("#!/bin/sh\n")
    (tmp_path / "signer").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f".:{os.environ['PATH']}")
    with pytest.raises(HostError):
        Program(argv=("signer",)).found()
    assert program_from("./signer").argv == (str(tmp_path / "signer"),)


ASKING = """\
import sys
sys.path.insert(0, {root!r})
from imagekit.host.signer import ExternalKey, Program
from imagekit.keys import sign_content
from imagekit.testing.documents import SIGNED, signing_key
key = ExternalKey(public=signing_key("brand").public, program=Program(argv=({program!r},)))
try:
    sign_content(key, b"content", created=SIGNED, what="it")
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.exit(130)
except Exception as error:
    print("told:", error, flush=True)
"""


def at_terminal(tmp_path: Path, script: str, answer: bytes) -> tuple[int, bytes, int]:
    """Run a program of ours whose signing program asks at /dev/tty: status, what was seen, the echo flag after."""
    import termios

    program = tmp_path / "asks"
    program.write_text("#!/bin/sh\n" + script)
    program.chmod(0o755)
    ours = ASKING.format(root=str(TESTS.parent), program=str(program))
    pid, master = pty.fork()
    if not pid:
        os.execv(sys.executable, [sys.executable, "-c", ours])
    seen = b""
    while b"PIN" not in seen:
        assert select.select([master], [], [], 30)[0], seen
        seen += os.read(master, 4096)
    time.sleep(0.3)
    os.write(master, answer)
    echo = termios.ECHO
    while True:
        try:
            assert select.select([master], [], [], 30)[0], seen
            chunk = os.read(master, 4096)
            seen += chunk
            if b"told" in chunk or b"interrupted" in chunk:
                echo = termios.tcgetattr(master)[3] & termios.ECHO
        except OSError:
            break
    os.close(master)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen, echo


def test_program_may_ask_for_a_pin_at_the_terminal(tmp_path: Path) -> None:
    script = "cat >/dev/null; printf PIN: >/dev/tty; read pin </dev/tty; echo \"{\\\"error\\\": \\\"got $pin\\\"}\""
    status, seen, _ = at_terminal(tmp_path, script, b"1234\n")
    assert status == 0 and b"refused: got 1234" in seen


def test_ctrl_c_ends_the_program_and_gives_the_terminal_back(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = f"trap '' INT; echo $$ > {pid}; stty -echo </dev/tty; printf PIN: >/dev/tty; read pin </dev/tty; sleep 99"
    status, seen, echo = at_terminal(tmp_path, script, b"\x03")
    assert status == 130 and b"interrupted" in seen
    assert echo, "what is typed shows again"
    assert not alive(pid)


def test_program_file_comes_back() -> None:
    program = program_from("/usr/bin/sign --slot 1 'my key'", timeout_s=7)
    assert program.argv == ("/usr/bin/sign", "--slot", "1", "my key")
    assert parse_program(program.encode(), name="x") == program


@pytest.mark.parametrize("raw", [
    b"", b"[]", b"{}", b"7", b'{"imagekit-signer": 1, "argv": [], "timeout_s": 1}',
    b'{"imagekit-signer": 1, "argv": "sh", "timeout_s": 0}', b'{"imagekit-signer": 1, "argv": [1], "timeout_s": 1}',
    b'{"imagekit-signer": 1, "argv": ["a"], "timeout_s": 99999}',
    b'{"imagekit-signer": 2, "argv": ["a"], "timeout_s": 1}',
    b'{"imagekit-signer": 1, "argv": ["a\\u0000"], "timeout_s": 1}', b"\xff", b"[" * 60000,
    b'{"imagekit-signer": 1, "argv": "sh", "timeout_s": 1}',
    b'{"imagekit-signer": 1, "argv": ["a"], "timeout_s": 1' + b"0" * 400 + b"}",
])
def test_program_file_that_says_nothing_is_refused(raw: bytes) -> None:
    with pytest.raises(DocumentError, match="cannot read x"):
        parse_program(raw, name="x")


@pytest.mark.parametrize(("command", "timeout_s"), [("", 1), ("  ", 1), ("'open", 1), ("sign", 0), ("sign", 1e9)])
def test_command_line_that_is_none_is_refused(command: str, timeout_s: float) -> None:
    with pytest.raises(UsageError):
        program_from(command, timeout_s=timeout_s)


@pytest.mark.tools
def test_openssl_may_be_the_program(made: Make, program: Callable[[str], str]) -> None:
    key = TESTS / "keys" / "TEST-ONLY-brand.pem"
    decode = "import json, sys; sys.stdout.buffer.write(bytes.fromhex(json.load(sys.stdin)['digest']))"
    script = (f'{sys.executable} -c "{decode}"'
              f" | {program('openssl')} pkeyutl -sign -inkey {key} -pkeyopt digest:sha512 | base64 -w0"
              " | sed 's/.*/{\"signature\": \"&\"}/'")
    assert sign(made(script)) == sign(KEY)


KMS = """\
import base64, sys
from pathlib import Path
from cryptography.hazmat.primitives.asymmetric import padding, utils
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.serialization import load_pem_private_key
words = sys.argv[1:]
assert words[0] == "sign" and words[words.index("--message-type") + 1] == "DIGEST"
file = Path({keys!r}) / f"TEST-ONLY-{{words[words.index('--key-id') + 1]}}.pem"
key = load_pem_private_key(file.read_bytes(), None)
digest = Path(words[words.index("--message") + 1].removeprefix("fileb://")).read_bytes()
print(base64.b64encode(key.sign(digest, padding.PKCS1v15(), utils.Prehashed(SHA512()))).decode())
"""


def test_program_for_a_kms_of_the_how_to_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (TESTS.parent / "docs" / "how-to" / "sign-with-an-hsm.md").read_text()
    script = page.partition("```sh\n")[2].partition("```")[0]
    service = f"#!{sys.executable}\n" + KMS.format(keys=str(TESTS / "keys"))
    for name, text in (("sign-with-kms.sh", script), ("kms", service)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    key = ExternalKey(public=KEY.public, program=Program(argv=("sign-with-kms.sh", "brand")))
    assert sign(key) == sign(KEY)
    with pytest.raises(HostError, match="failed with exit status"):
        sign(ExternalKey(public=KEY.public, program=Program(argv=("sign-with-kms.sh", "absent"))))


def test_short_key_of_a_program_is_refused_before_the_program_runs(tmp_path: Path) -> None:
    short = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    numbers = short.public_numbers()
    key = ExternalKey(public=PublicKey(n=numbers.n, e=numbers.e), program=Program(argv=("/absent",)))
    with pytest.raises(TrustError, match="2048 bits, at least 4096"):
        sign(key)


def test_no_process_stays_behind(made: Make) -> None:
    with pytest.raises(HostError):
        sign(made("sleep 1000", timeout_s=0.1))
    children = " ".join(path.read_text() for path in Path("/proc/self/task").glob("*/children")).split()
    states = [Path(f"/proc/{child}/stat").read_text() for child in children]
    assert not [state for state in states if "(signer)" in state or ") Z " in state]
