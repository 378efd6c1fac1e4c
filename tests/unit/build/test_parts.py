"""Parts: from the cache, from the mirror, anew when they have vanished; unpacked without leaving the tree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from imagekit.build.parts import Parts, Policy, digest_of, make_root, unpack
from imagekit.errors import DocumentError, HostError, PlanError, TrustError
from imagekit.host import apt as apt_module
from imagekit.host.cache import Cache
from imagekit.packages.lockfile import EMPTY, Part, Section
from imagekit.packages.recipe import Recipe, parse_recipe
from imagekit.schema import load_yaml
from imagekit.testing.debs import build_deb, folder, link, offer, regular
from imagekit.testing.fakes import FakeTools, RecordedProgress

MIRROR = "https://mirror.example/debian"
RECIPE = parse_recipe(load_yaml("name: demo\ntype: parts\nsuite: trixie\narchitecture: amd64\nparts: [hello]\n",
                                name="r"))


class World:
    """A mirror folder, an apt that serves it, a cache and a lock."""

    def __init__(self, tmp_path: Path) -> None:
        self.mirror = tmp_path / "mirror"
        self.cache = Cache(tmp_path / "cache")
        self.tools = FakeTools(apt_get=self.apt_get, apt_config=b"", apt_helper=self.download, apt_cache=self.show)
        self.progress = RecordedProgress()
        self.offered: list[Part] = []
        self.lock = EMPTY

    def put(self, content: bytes, version: str = "1.0-1") -> Part:
        part = offer(self.mirror, content, version=version)
        self.offered = [part]
        return part

    def pin(self, part: Part) -> None:
        self.lock = EMPTY.with_section("demo", Section(suite="trixie", wants=RECIPE.wants, parts=(part,)))

    def apt_get(self, *args: str) -> bytes:
        if args[0] == "indextargets":
            return f"{MIRROR} trixie main\n".encode()
        if args[0] == "install":
            return "".join(f"'{MIRROR}/{part.filename}' {part.name}_{part.version}_amd64.deb {part.size} SHA256:x\n"
                           for part in self.offered).encode()
        return b""

    def show(self, *args: str) -> bytes:
        return "".join(f"Package: {part.name}\nVersion: {part.version}\nArchitecture: amd64\nSize: {part.size}\n"
                       f"Filename: {part.filename}\nSHA256: {part.sha256}\n\n" for part in self.offered).encode()

    def download(self, *args: str) -> bytes:
        for uri, target in zip(args[1::3], args[2::3], strict=True):
            path = self.mirror / uri.removeprefix(f"{MIRROR}/")
            if not path.is_file():
                raise HostError("cannot run apt-helper", details=(f"E: Failed to fetch {uri}  404  Not Found",))
            Path(target).write_bytes(path.read_bytes())
        return b""

    def parts(self, *, locked: bool = False, offline: bool = False) -> Parts:
        return Parts(self.cache, self.lock, policy=Policy(locked=locked, offline=offline), environment={},
                     progress=self.progress, host=self.tools)

    def vanish(self, part: Part) -> None:
        (self.mirror / part.filename).unlink()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    (tmp_path / "keyring").touch()
    monkeypatch.setattr(apt_module, "KEYRING", tmp_path / "keyring")
    return World(tmp_path)


def test_locked_part_is_fetched_once_and_then_needs_no_network(world: World) -> None:
    part = world.put(build_deb())
    world.pin(part)
    assert world.parts().section(RECIPE).parts == (part,)
    world.tools.calls.clear()
    for options in ({}, {"offline": True}, {"locked": True}):
        parts = world.parts(**options)
        assert parts.path(parts.section(RECIPE).part("hello")).read_bytes()[:7] == b"!<arch>"
    assert world.tools.calls == []


def test_offline_without_the_cache_names_what_is_missing(world: World) -> None:
    world.pin(world.put(build_deb()))
    with pytest.raises(HostError, match="cannot pack demo offline: 1 of its parts") as caught:
        world.parts(offline=True).section(RECIPE)
    assert caught.value.details == ("hello 1.0-1",)
    assert world.tools.calls == []


def test_vanished_part_is_resolved_anew_and_said_so_and_kept(world: World) -> None:
    old = world.put(build_deb())
    world.pin(old)
    world.vanish(old)
    new = world.put(build_deb(version="1.1-1"), version="1.1-1")
    assert world.parts().section(RECIPE).parts == (new,)
    assert any("have vanished" in note and "hello 1.1-1" in note and "imagekit lock --update" in note
               for note in world.progress.notes)
    world.tools.calls.clear()
    assert world.parts(offline=True).section(RECIPE).parts == (new,)
    assert world.tools.calls == []


def test_older_part_in_the_place_of_a_vanished_one_is_told_as_such(world: World) -> None:
    old = world.put(build_deb(version="1.1-1"), version="1.1-1")
    world.pin(old)
    world.vanish(old)
    world.put(build_deb())
    world.parts().section(RECIPE)
    assert any("hello 1.0-1 (older)" in note for note in world.progress.notes)


def test_vanished_part_is_refused_when_locked_even_if_there_is_a_newer_one(world: World) -> None:
    old = world.put(build_deb())
    world.pin(old)
    world.vanish(old)
    world.put(build_deb(version="1.1-1"), version="1.1-1")
    world.parts().section(RECIPE)
    with pytest.raises(HostError, match=r"cannot fetch hello 1\.0-1: the mirror does not have it any more") as caught:
        world.parts(locked=True).section(RECIPE)
    assert caught.value.hint == "to pin what the mirror has now: imagekit lock --update"
    assert caught.value.exit_code == 6


def test_other_content_under_a_locked_name_is_refused(world: World) -> None:
    part = world.put(build_deb())
    world.pin(replace(part, sha256="0" * 64))
    with pytest.raises(TrustError, match="locked is 000"):
        world.parts().section(RECIPE)


def test_changed_file_in_the_cache_is_refused(world: World) -> None:
    part = world.put(build_deb())
    world.pin(part)
    parts = world.parts()
    parts.section(RECIPE)
    world.cache.blob(part.sha256).write_bytes(b"evil")
    with pytest.raises(TrustError):
        parts.path(part)


def test_recipe_that_the_lock_does_not_answer_is_refused(world: World) -> None:
    with pytest.raises(PlanError, match="the lock has no section for it") as caught:
        world.parts().section(RECIPE)
    assert caught.value.hint == "imagekit lock --update"
    world.pin(world.put(build_deb()))
    other: Recipe = replace(RECIPE, parts=("hello", "world"))
    with pytest.raises(PlanError, match="asks for other parts than the lock answers"):
        world.parts().section(other)


def test_resolving_gives_parts_with_both_digests_from_cache_or_mirror(world: World) -> None:
    part = world.put(build_deb())
    assert world.parts().resolve(RECIPE).parts == (part,)
    assert world.parts().resolve(RECIPE).parts == (part,)
    assert world.parts().offered(RECIPE).parts[0].sha256 == part.sha256
    with pytest.raises(HostError, match="cannot resolve demo offline"):
        world.parts(offline=True).resolve(RECIPE)


def test_tools_are_unpacked_once(world: World) -> None:
    world.pin(world.put(build_deb([regular("./usr/bin/mkfs.erofs", b"ELF", mode=0o755)])))
    argv = world.parts().tools(RECIPE).find("mkfs.erofs")
    assert Path(argv[-1]).read_bytes() == b"ELF"
    world.progress.steps.clear()
    world.parts().tools(RECIPE)
    assert world.progress.steps == []


def test_digest_of_a_section_follows_its_parts(world: World) -> None:
    one = Section(suite="trixie", wants=(), parts=(world.put(build_deb()),))
    assert digest_of(one) == digest_of(replace(one, wants=("x",)))
    assert digest_of(one) != digest_of(replace(one, parts=()))


def unpacked(tmp_path: Path, entries: list) -> Path:
    package = tmp_path / "x.deb"
    package.write_bytes(build_deb(entries))
    root = tmp_path / "root"
    if not root.exists():
        make_root(root)
    unpack(package, root, name="x.deb")
    return root


def test_files_links_and_the_executable_bit_are_unpacked(tmp_path: Path) -> None:
    root = unpacked(tmp_path, [folder("./usr"), regular("./usr/bin/a", b"a", mode=0o4755), link("./usr/bin/b", "a"),
                               link("./usr/bin/c", "./usr/bin/a", hard=True), regular("./lib/x/y.so", b"y")])
    assert (root / "usr/bin/a").stat().st_mode & 0o7777 == 0o755
    assert (root / "usr/bin/b").readlink() == Path("a")
    assert (root / "usr/bin/c").read_bytes() == b"a"
    assert (root / "usr/bin/c").stat().st_mode & 0o7777 == 0o755
    assert (root / "usr/lib/x/y.so").read_bytes() == b"y"


@pytest.mark.parametrize("target", ["/etc", "../../outside", "/"])
def test_writing_through_a_link_to_outside_is_refused(tmp_path: Path, target: str) -> None:
    (tmp_path / "outside").mkdir()
    with pytest.raises(DocumentError, match="leaves the tree through a link"):
        unpacked(tmp_path, [link("./usr/evil", target), regular("./usr/evil/cron.d/x", b"x")])


def test_link_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("safe")
    root = unpacked(tmp_path, [link("./usr/bin/a", str(victim)), regular("./usr/bin/a", b"new")])
    assert victim.read_text() == "safe"
    assert (root / "usr/bin/a").read_bytes() == b"new"


def test_hard_link_to_a_link_copies_the_link_and_not_what_it_leads_to(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the host's")
    root = unpacked(tmp_path, [link("./usr/a", str(secret)), link("./usr/b", "./usr/a", hard=True)])
    assert (root / "usr/b").readlink() == secret


def test_hard_link_through_a_link_to_outside_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    with pytest.raises(DocumentError, match="leaves the tree"):
        unpacked(tmp_path, [link("./usr/out", "../../outside"), link("./usr/copy", "./usr/out/secret", hard=True)])
