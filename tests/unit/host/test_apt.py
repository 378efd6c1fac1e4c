"""apt, answered by a fake: which mirror is asked, what becomes of its answers and of its failures."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagekit.errors import HostError, TrustError
from imagekit.host import apt as apt_module
from imagekit.host.apt import Apt, PartVanished, Wanted, mirrors_of
from imagekit.host.cache import Cache
from imagekit.testing.debs import build_deb, offer
from imagekit.testing.fakes import FakeTools, RecordedProgress

MIRROR = "https://mirror.example/debian"
TARGETS = (f"{MIRROR}/ bookworm main\n{MIRROR}/ bookworm-updates main\n"
           "https://mirror.example/security/ bookworm-security main\n")
SHOW = """Package: hello
Version: 1:2.0+b1
Architecture: amd64
Source: hello-source (2.0)
Filename: pool/main/h/hello/hello_2.0+b1_amd64.deb
Size: 10
SHA256: {sha}

""".format(sha="a" * 64)
URIS = (f"'{MIRROR}/pool/main/h/hello/hello_2.0%2bb1_amd64.deb' hello_1%3a2.0+b1_amd64.deb 10 SHA256:{'a' * 64}\n"
        "'https://mirror.example/security/pool/x/extra_1_all.deb' extra_1_all.deb 5 SHA256:bb\n")


@pytest.fixture(autouse=True)
def keyring(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "keyring.gpg"
    path.touch()
    monkeypatch.setattr(apt_module, "KEYRING", path)


@pytest.fixture
def tools() -> FakeTools:
    return FakeTools(apt_get=lambda *args: {"indextargets": TARGETS, "install": URIS}.get(args[0], "").encode(),
                     apt_config=b'Acquire::http::Proxy "http://proxy:1";\nDPkg::Post-Invoke:: "rm -rf /";\n',
                     apt_cache=SHOW.encode())


@pytest.fixture
def apt(tools: FakeTools, tmp_path: Path) -> Apt:
    return Apt(Cache(tmp_path / "cache"), tools, suite="trixie", architecture="amd64",
               environment={"http_proxy": "http://p:2", "HOME": "/root"})


def failing(*lines: str) -> HostError:
    return HostError("cannot run apt: it failed", details=lines)


@pytest.mark.parametrize(("targets", "expected"), [
    (TARGETS, {"debian": MIRROR, "debian-security": "https://mirror.example/security"}),
    (f"{MIRROR} trixie main\n", {"debian": MIRROR}),
    (f"{MIRROR}/ sid contrib\n{MIRROR}/ sid main\n", {"debian": MIRROR}),
    (f"https://other.example/ubuntu/ jammy main\n{MIRROR}/ stable main\n", {"debian": MIRROR}),
])
def test_mirror_is_the_one_of_the_host(targets: str, expected: dict[str, str]) -> None:
    assert mirrors_of(targets, None) == expected


@pytest.mark.parametrize("targets", ["", "https://other.example/ubuntu/ jammy main\n", "garbage\n"])
def test_host_without_a_debian_source_is_told_how_to_name_one(targets: str) -> None:
    with pytest.raises(HostError, match="cannot find a Debian mirror") as caught:
        mirrors_of(targets, None)
    assert "IMAGEKIT_MIRROR" in (caught.value.hint or "")
    assert mirrors_of(targets, "file:/srv/debian/") == {"debian": "file:/srv/debian"}


def test_names_become_exact_versions_with_their_source(apt: Apt) -> None:
    found = apt.resolve(Wanted(parts=("hello",), alone=(), keep=("hello",)))
    assert [(part.name, part.version, part.source, part.source_version, part.archive) for part in found] == [
        ("hello", "1:2.0+b1", "hello-source", "2.0", "debian")]
    assert found[0].filename == "pool/main/h/hello/hello_2.0+b1_amd64.deb"


def test_package_alone_comes_without_what_it_needs(apt: Apt) -> None:
    assert [part.name for part in apt.resolve(Wanted(parts=(), alone=("hello",), keep=()))] == ["hello"]


def test_package_that_is_not_described_is_an_error_and_not_left_out(apt: Apt) -> None:
    with pytest.raises(HostError, match="cannot resolve extra 1"):
        apt.resolve(Wanted(parts=("hello",), alone=(), keep=()))


def test_configuration_is_private_but_keeps_the_proxy(apt: Apt, tools: FakeTools, tmp_path: Path) -> None:
    apt.update()
    folder = tmp_path / "cache/apt/trixie-amd64"
    text = (folder / "apt.conf").read_text()
    assert 'Acquire::http::Proxy "http://proxy:1";' in text
    assert "Post-Invoke" not in text
    assert (folder / "sources.list").read_text().count("signed-by=") == 2
    update = next(call for call in tools.calls if call.args[:1] == ("update",))
    assert update.env == {"APT_CONFIG": str(folder / "apt.conf"), "http_proxy": "http://p:2"}


def test_further_components_are_asked_apart_from_main_alone(tools: FakeTools, tmp_path: Path) -> None:
    Apt(Cache(tmp_path / "cache"), tools, suite="trixie", architecture="arm64", environment={},
        components=("non-free-firmware",)).update()
    lines = (tmp_path / "cache/apt/trixie-arm64-non-free-firmware/sources.list").read_text().splitlines()
    assert [line.partition("] ")[2].split()[1:] for line in lines] == [
        ["trixie", "main", "non-free-firmware"], ["trixie-security", "main", "non-free-firmware"]]


def test_lists_are_fetched_once(apt: Apt, tools: FakeTools) -> None:
    apt.update()
    apt.update()
    assert sum(call.args[:1] == ("update",) for call in tools.calls) == 1


@pytest.mark.parametrize(("line", "reason"), [
    ("W: Failed to fetch x  Could not resolve 'mirror.example'", "no network"),
    ("E: Failed to fetch x  Could not connect to mirror.example:80", "no network"),
    ("W: GPG error: x InRelease: NO_PUBKEY 6ED0E7B82643E131", "signature does not verify"),
    ("E: something new", "something new")])
def test_failed_update_is_told_by_its_reason(apt: Apt, tools: FakeTools, line: str, reason: str) -> None:
    answer = tools.answers["apt-get"]
    assert callable(answer)

    def respond(*args: str) -> bytes:
        if args[0] == "update":
            raise failing(line)
        return answer(*args)

    tools.answers["apt-get"] = respond
    with pytest.raises(HostError, match=reason):
        apt.update()


def test_machine_without_apt_or_keyring_is_told_so(tmp_path: Path, tools: FakeTools,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    bare = Apt(Cache(tmp_path), FakeTools(), suite="trixie", architecture="amd64", environment={})
    with pytest.raises(HostError, match="cannot run apt-get: it is not installed"):
        bare.update()
    monkeypatch.setattr(apt_module, "KEYRING", tmp_path / "missing.gpg")
    with pytest.raises(HostError, match="keyring is not installed"):
        Apt(Cache(tmp_path), tools, suite="trixie", architecture="amd64", environment={}).update()


class Mirror:
    """A mirror folder behind a fake apt-helper."""

    def __init__(self, folder: Path, tools: FakeTools) -> None:
        self.folder = folder
        tools.answers["apt-helper"] = self.download

    def download(self, *args: str) -> bytes:
        assert args[0] == "download-file"
        for uri, target in zip(args[1::3], args[2::3], strict=True):
            path = self.folder / uri.removeprefix(f"{MIRROR}/")
            if not path.is_file():
                raise failing(f"E: Failed to fetch {uri}  404  Not Found [IP: 192.0.2.1 80]")
            Path(target).write_bytes(path.read_bytes())
        return b""


def test_fetched_part_is_in_the_cache(apt: Apt, tools: FakeTools, tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "mirror", tools)
    part = offer(mirror.folder, build_deb())
    progress = RecordedProgress()
    assert apt.fetch([part], progress=progress) == (part,)
    assert Cache(tmp_path / "cache").has(part.sha256)
    assert progress.advanced == part.size


def test_vanished_part_is_told_by_its_name(apt: Apt, tools: FakeTools, tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "mirror", tools)
    parts = [offer(mirror.folder, build_deb(name=name), name=name) for name in ("first", "second")]
    (mirror.folder / parts[1].filename).unlink()
    with pytest.raises(PartVanished, match=r"cannot fetch second 1\.0-1: the mirror does not have it") as caught:
        apt.fetch(parts, progress=RecordedProgress())
    assert caught.value.hint == "to pin what the mirror has now: imagekit lock --update"


def test_part_replaced_on_the_mirror_is_refused(apt: Apt, tools: FakeTools, tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "mirror", tools)
    part = offer(mirror.folder, build_deb())
    offer(mirror.folder, build_deb(version="1.0-1evil"))
    with pytest.raises(TrustError, match="sha256"):
        apt.fetch([part], progress=RecordedProgress())
    assert not Cache(tmp_path / "cache").has(part.sha256)


def test_download_without_a_network_is_told_so(apt: Apt, tools: FakeTools, tmp_path: Path) -> None:
    tools.answers["apt-helper"] = failing("E: Failed to fetch x  Temporary failure resolving 'mirror.example'")
    with pytest.raises(HostError, match="no network") as caught:
        apt.fetch([offer(tmp_path / "mirror", build_deb())], progress=RecordedProgress())
    assert not isinstance(caught.value, PartVanished)
