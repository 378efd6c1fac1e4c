"""`meta/snap.yaml` and package file names: every rule has a document that breaks it, with the exact words beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagekit.errors import DocumentError, ExitCode
from imagekit.packages.epoch import Epoch
from imagekit.packages.rulebook import SnapRules
from imagekit.packages.schedule import Day, Days, Events, Times
from imagekit.packages.snapvalues import (
    App,
    ComponentType,
    Confinement,
    Daemon,
    DaemonScope,
    Hook,
    Interface,
    Layout,
    LayoutKind,
    Restart,
    Socket,
    SystemUsername,
)
from imagekit.packages.snapyaml import (
    SnapInfo,
    check_snap_yaml,
    encode_snap_yaml,
    file_name,
    parse_file_name,
    parse_snap_yaml,
    read_snap_yaml,
)
from imagekit.rules import rules_of
from imagekit.schema import DocumentProblems, load_yaml
from tests.patience import patience

DOCUMENTS = Path(__file__).parent.parent.parent / "documents"
BOOK = {rule.id: rule for rule in rules_of(SnapRules)}
CASES = sorted((DOCUMENTS / "invalid").glob("snap-*"))  # called after a rule, with -- and a word where it has several
WARNED = [case for case in CASES if case.name in BOOK and BOOK[case.name].warning]
INVALID = [case for case in CASES if case not in WARNED]
VALID = sorted((DOCUMENTS / "valid").glob("snap-*"))
INFO = SnapInfo(name="pc-kernel", version="6.12.1-1", type="kernel", architectures=("amd64",), summary='a "kernel": x',
                description="two\nlines")
FULL = (DOCUMENTS / "valid" / "snap-full" / "snap.yaml")


def read(path: Path) -> SnapInfo:
    return read_snap_yaml(path.read_bytes(), name="snap.yaml")


@pytest.mark.parametrize("case", INVALID, ids=lambda case: case.name)
def test_invalid_document_is_refused_with_all_its_problems(case: Path) -> None:
    with pytest.raises(DocumentProblems) as caught:
        read(case / "snap.yaml")
    error = caught.value
    assert "\n".join((error.message, *error.details)) + "\n" == (case / "error.txt").read_text()
    assert error.exit_code == ExitCode.DOCUMENT
    rules = {item.rule.id for item in error.problems if item.rule}
    assert all(item.rule for item in error.problems)
    assert case.name.partition("--")[0] in rules


@pytest.mark.parametrize("case", WARNED, ids=lambda case: case.name)
def test_doubtful_document_is_accepted_with_a_warning(case: Path) -> None:
    _, warnings = check_snap_yaml(load_yaml((case / "snap.yaml").read_bytes(), name="snap.yaml"))
    assert "".join(f"warning: {item}\n" for item in warnings) == (case / "error.txt").read_text()
    assert {item.rule.id for item in warnings if item.rule} == {case.name}


@pytest.mark.parametrize("case", VALID, ids=lambda case: case.name)
def test_valid_document_is_accepted(case: Path) -> None:
    assert read(case / "snap.yaml").name


def test_every_rule_has_a_document_that_breaks_it() -> None:
    assert set(BOOK) - {case.name.partition("--")[0] for case in CASES} == set()


def test_every_field_becomes_a_value() -> None:
    info = read(FULL)
    assert (info.title, info.license, info.provenance, info.grade) == (
        "Hello", "MIT AND (Zlib OR 0BSD)", "beta", "devel")
    assert (info.confinement, info.base, info.assumes) == (Confinement.CLASSIC, "core22", ("snapd2.55",))
    assert info.epoch == Epoch(read=(1, 2), write=(2,)) and str(info.epoch) == "2*"
    assert info.environment == (("PATH", "$SNAP/bin:$PATH"), ("A", "1.10"), ("B", ""))
    assert info.plugs == (
        Interface(name="home", interface="home"), Interface(name="net", interface="network"),
        Interface(name="data", interface="content", label="Data", attributes=(
            ("content", "data"), ("target", "$SNAP/data"), ("since", "2026-01-01"),
            ("deep", (("list", (1, 2.5, True)),)))),
        Interface(name="network-bind", interface="network-bind", declared=False))
    web, user, tool = info.apps
    assert web == App(
        name="web", command="bin/web --port 8080", command_chain=("bin/wrap",), daemon=Daemon.NOTIFY,
        daemon_scope=DaemonScope.SYSTEM, stop_command="bin/stop", start_timeout=90_000_000_000,
        stop_timeout=1_500_000_000, watchdog_timeout=60_000_000_000, restart_condition=Restart.NEVER, restart_delay=0,
        success_exit_status=(42,), stop_mode="sigint-all", after=("user2",), timer=(
            Events(days=(Days(first=Day(weekday="mon", week=1), last=Day(weekday="fri")),),
                   times=(Times(start=600, end=720, count=2, spread=True),)), ),
        sockets=(Socket(name="web", listen_stream="$SNAP_COMMON/web.sock", mode=0o600),
                 Socket(name="net", listen_stream="[::1]:80")),
        activates_on=("bus",), bus_name="org.example.Web", plugs=("network-bind",), environment=(("PORT", "8080"),))
    assert (user.daemon_scope, tool.daemon_scope, tool.is_service) == (DaemonScope.SYSTEM, None, False)
    assert tool.aliases == ("t", "tool.run")
    assert info.hooks == (Hook(name="configure", plugs=("net",), command_chain=("bin/wrap",)),)
    assert info.components[0].type is ComponentType.STANDARD and info.components[0].hooks[0].name == "install"
    assert info.layouts == (
        Layout(path="/etc/hello", kind=LayoutKind.BIND, source="$SNAP_DATA/etc"),
        Layout(path="/etc/hello.conf", kind=LayoutKind.BIND_FILE, source="$SNAP/hello.conf"),
        Layout(path="/opt/hello", kind=LayoutKind.SYMLINK, source="$SNAP/opt"),
        Layout(path="/var/cache/hello", kind=LayoutKind.TMPFS, mode=0o1777))
    assert info.system_usernames == (
        SystemUsername(name="_daemon_", scope="shared"),
        SystemUsername(name="snap_daemon", scope="shared", attributes=(("shell", "none"),)))
    assert info.links == (("contact", ("me@example.com", "mailto:you@example.com")),
                          ("website", ("https://example.com/%20?q=%",)))


def test_plug_that_nobody_names_belongs_to_every_app() -> None:
    info = read(FULL)
    web, _, tool = info.apps
    assert info.plugs_of(tool) == ("home", "data")  # net is the hook's, network-bind is web's
    assert info.plugs_of(web) == ("network-bind", "home", "data")
    assert info.slots_of(web) == ("bus", "share") and info.slots_of(tool) == ("share",)


def test_hook_in_the_package_needs_no_declaration() -> None:
    text = b"name: hello\nversion: '1'\nhooks: {default-configure: }\n"
    assert read_snap_yaml(text, name="snap.yaml", hook_files=("configure",)).hooks[0].name == "default-configure"
    with pytest.raises(DocumentError, match="base none has no apps"):
        read_snap_yaml(b"name: hello\nversion: '1'\nbase: none\n", name="snap.yaml", hook_files=("configure",))


def test_os_is_core_to_a_model_and_snapd_is_known_by_its_name() -> None:
    assert read(DOCUMENTS / "valid" / "snap-core" / "snap.yaml").model_type == "core"
    assert read(DOCUMENTS / "valid" / "snap-snapd" / "snap.yaml").model_type == "snapd"


def test_written_document_is_read_back() -> None:
    assert parse_snap_yaml(load_yaml(encode_snap_yaml(INFO), name="snap.yaml")) == INFO


@pytest.mark.parametrize("text", ["😀", "a\x85b", "\x7f", "\u2028", "\ufeff", 'a "b" \\n\t\n', "é", "\x07", "\ufffe"])
def test_any_text_is_written_so_that_yaml_reads_it(text: str) -> None:
    info = SnapInfo(name="hello", version="1", type="app", architectures=("all",), summary=text, description=text)
    again = read_snap_yaml(encode_snap_yaml(info), name="snap.yaml")
    assert (again.summary, again.description) == (text, text)


def test_app_is_confined_and_keeps_its_base() -> None:
    app = SnapInfo(name="hello", version="1", type="app", architectures=("all",), base="debian-13")
    content = encode_snap_yaml(app)
    assert b"confinement: strict\n" in content
    assert parse_snap_yaml(load_yaml(content, name="snap.yaml")) == app


def test_number_as_version_is_taken_as_it_was_written() -> None:
    info = parse_snap_yaml(load_yaml("name: hello\nversion: 2.10\nplugs: {x: null}\n", name="snap.yaml"))
    assert (info.version, info.type, info.architectures) == ("2.10", "app", ("all",))


def test_two_thousand_layouts_are_checked() -> None:
    paths = "".join(f"  /opt/{'/'.join(str(number))}x: {{bind: $SNAP/{number}}}\n" for number in range(2000))
    with patience():
        info = read_snap_yaml(f"name: hello\nversion: '1'\nlayout:\n{paths}".encode(), name="snap.yaml")
    assert len(info.layouts) == 2000


def test_file_name_goes_both_ways() -> None:
    assert parse_file_name(file_name("pc-kernel", 12)) == ("pc-kernel", 12)


@pytest.mark.parametrize("name", ["pc.snap", "pc_0.snap", "pc_x1.snap", "pc_1.snap.zst", "a/pc_1.snap", "PC_1.snap",
                                  ""])
def test_other_file_names_are_refused(name: str) -> None:
    with pytest.raises(DocumentError, match="not a package name"):
        parse_file_name(name)
