"""Keys, thresholds and delegations of the TUF specification (sections 2.1, 4.5, 5.3.4, 5.6.7), through our client.

Keys are numbers: `holds` are those that a role names, `signs` those whose signatures are under it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
from securesystemslib.signer import CryptoSigner, Key
from tuf.api.metadata import Root, Targets

from imagekit.errors import TrustError
from tests.attacks.repository import CONTENT, KNOWN, PUBLISHER, World, world_of


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_of(tmp_path) as found:
        yield found


@pytest.fixture(scope="module")
def keys() -> list[CryptoSigner]:
    return [CryptoSigner.generate_ed25519() for _ in range(10)]


@dataclass(frozen=True, slots=True)
class Signed:
    holds: tuple[int, ...]
    threshold: int
    signs: tuple[int, ...]
    believed: bool = True


def hand_over(world: World, role: str, keys: list[CryptoSigner], signed: Signed) -> None:
    """Give a role these keys, whose signatures it then has."""
    named = world.repo.signed("root").roles[role]
    for key_id in list(named.keyids):
        world.repo.signed("root").revoke_key(key_id, role)
    for number in signed.holds:
        world.repo.signed("root").add_key(keys[number].public_key, role)
    named.threshold = signed.threshold
    world.repo.signers[role] = [keys[number] for number in signed.signs]


FOUR, NEW = (0, 1, 2, 3), (6, 7, 8, 9)
ROOTS: dict[str, tuple[Signed, ...]] = {
    "another key, signed by both": (Signed((6,), 1, (6,)), Signed((7,), 1, (6, 7)), Signed((7,), 1, (7,))),
    "signatures that are nobody's are left alone": (Signed((6,), 1, (8, 6)), Signed((7,), 1, (8, 6, 9, 7))),
    "any two of four": (Signed(FOUR, 2, (0, 3)), Signed(FOUR, 2, (3, 1)), Signed(FOUR, 2, (1, 2))),
    "one of four exchanged": (Signed(FOUR, 2, (0, 2)), Signed((0, 1, 2, 7), 2, (2, 0))),
    "all four exchanged": (Signed(FOUR, 2, (0, 2)), Signed(NEW, 2, (0, 2, 6, 7)), Signed(NEW, 2, (8, 9))),
    "a higher threshold": (Signed((4, 5), 1, (4,)), Signed((4, 5), 2, (4, 5))),
    "a lower threshold": (Signed((4, 5), 2, (4, 5)), Signed((4, 5), 1, (4, 5)), Signed((4, 5), 1, (5,))),
    "not signed by the old key": (Signed((6,), 1, (6,)), Signed((7,), 1, (7, 8), False)),
    "not signed by the new key": (Signed((6,), 1, (6,)), Signed((7,), 1, (6, 8), False)),
    "too few of the new four": (Signed(FOUR, 2, (0, 2)), Signed((0, 6, 7, 8), 2, (0, 2), False)),
    "too few of the old four": (Signed(FOUR, 2, (0, 2)), Signed((0, 6, 7, 8), 2, (0, 6), False)),
    "a higher threshold that is not reached": (Signed((4, 5), 1, (4,)), Signed((4, 5), 2, (5,), False)),
    "a lower threshold that the old one is not": (Signed((4, 5), 2, (4, 5)), Signed((4, 5), 1, (4,), False)),
}


@pytest.mark.parametrize("name", ROOTS)
def test_5_3_4_chain_of_roots(world: World, keys: list[CryptoSigner], name: str) -> None:
    first, *later = ROOTS[name]
    before = world.repo.signers["root"]
    hand_over(world, "root", keys, first)
    world.repo.signers["root"] = [*before, *world.repo.signers["root"]]
    world.repo.new_root()
    for signed in later:
        hand_over(world, "root", keys, signed)
        world.repo.new_root()
    last = world.repo.signed("root").version
    if later[-1].believed:
        world.client()
        assert world.remembers()["root"] == last
    else:
        with pytest.raises(TrustError, match="was signed by"):
            world.client()
        assert world.remembers()["root"] == last - 1


OTHERS: dict[str, Signed] = {
    "another key": Signed((7,), 1, (7,)),
    "signatures that are nobody's are left alone": Signed((6,), 1, (8, 6, 9)),
    "not signed by the new key": Signed((7,), 1, (6, 8), False),
    "two of four, one of them a stranger": Signed((0, 6, 7, 8), 2, (0, 2), False),
    "one of four": Signed(FOUR, 2, (3,), False),
    "any two of four": Signed(FOUR, 2, (1, 2)),
    "more than there are keys": Signed(FOUR, 5, FOUR, False),
}


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
@pytest.mark.parametrize("name", OTHERS)
def test_2_1_threshold_of_a_role(world: World, keys: list[CryptoSigner], role: str, name: str) -> None:
    signed = OTHERS[name]
    hand_over(world, role, keys, signed)
    world.repo.new_root()
    world.repo.release("targets")
    if signed.believed:
        world.client()
        assert world.remembers()[role] == 3
    else:
        with pytest.raises(TrustError, match="was signed by"):
            world.client()
        assert world.remembers()[role] == 2


def under_ids(world: World, holder: Root | Targets, role: str, count: int) -> None:
    """Name the key of a role under so many ids more, and count on a signature of each."""
    signer = world.repo.signers[role][0]
    keys = holder.keys if isinstance(holder, Root) else holder.delegations.keys
    for number in range(count):
        twin = Key.from_dict(f"{number:064x}", signer.public_key.to_dict())
        keys[twin.keyid] = twin
        holder.get_delegated_role(role).keyids.append(twin.keyid)
        world.repo.signers[role].append(CryptoSigner(signer._private_key, twin))
    holder.get_delegated_role(role).threshold = count + 1


@pytest.mark.parametrize("role", ["snapshot", PUBLISHER])
def test_4_3_one_key_under_many_ids_counts_once(world: World, role: str) -> None:
    """Six signatures of one key, for a threshold of six."""
    holder = world.repo.signed("root" if role == "snapshot" else "targets")
    under_ids(world, holder, role, 5)
    if role == "snapshot":
        world.repo.new_root()
    world.repo.release("targets", PUBLISHER)
    assert len(json.loads(world.repo.path(role, 3).read_bytes())["signatures"]) == 6
    with pytest.raises(TrustError, match=f"one key for two of {role}"):
        world.fetch()


@pytest.mark.parametrize("make", [CryptoSigner.generate_ed25519, CryptoSigner.generate_rsa,
                                  CryptoSigner.generate_ecdsa], ids=["ed25519", "rsassa-pss", "ecdsa"])
def test_4_2_kinds_of_keys(world: World, make: type[CryptoSigner]) -> None:
    signer = make()
    hand_over(world, "timestamp", [signer], Signed((0,), 1, (0,)))
    world.repo.new_root()
    world.repo.point()
    world.client()
    assert world.remembers()["timestamp"] == 3


# ---- delegations

Edge = tuple[str, str] | tuple[str, str, str]  # from, to, and the paths or "stop" for a terminating one
TOP, ACME, DRIVERS, FIRMWARE, FONTS = "targets", "acme", "drivers", "firmware", "fonts"
GRAPHS: dict[str, tuple[tuple[Edge, ...], tuple[str, ...]]] = {
    "one": (((TOP, ACME),), (ACME,)),
    "in the order in which they stand": (((TOP, FONTS), (TOP, ACME), (TOP, DRIVERS)), (FONTS, ACME, DRIVERS)),
    "down before across": (((TOP, ACME), (TOP, FONTS), (ACME, FIRMWARE), (ACME, DRIVERS)),
                           (ACME, FIRMWARE, DRIVERS, FONTS)),
    "down to the ground": (((TOP, ACME), (ACME, DRIVERS), (DRIVERS, FIRMWARE), (TOP, FONTS)),
                           (ACME, DRIVERS, FIRMWARE, FONTS)),
    "behind one that ends the search": (((TOP, ACME, "stop"), (TOP, FONTS)), (ACME,)),
    "below one that ends the search": (((TOP, ACME, "stop"), (ACME, DRIVERS), (TOP, FONTS)), (ACME, DRIVERS)),
    "a deep one ends it for all above": (((TOP, ACME), (ACME, DRIVERS, "stop"), (ACME, FIRMWARE), (TOP, FONTS)),
                                         (ACME, DRIVERS)),
    "not where the paths are others": (((TOP, ACME, "*.ttf"), (ACME, DRIVERS), (TOP, FONTS)), (FONTS,)),
    "not below where the paths are others": (((TOP, ACME), (ACME, DRIVERS, "*.ttf"), (DRIVERS, FIRMWARE)), (ACME,)),
    "in a circle": (((TOP, ACME), (ACME, DRIVERS), (DRIVERS, ACME)), (ACME, DRIVERS)),
    "to one from two": (((TOP, ACME), (TOP, FONTS), (ACME, DRIVERS), (FONTS, DRIVERS)), (ACME, DRIVERS, FONTS)),
    "to one from the second, the first gives other paths": (
        ((TOP, ACME), (TOP, FONTS), (ACME, DRIVERS, "*.ttf"), (FONTS, DRIVERS)), (ACME, FONTS, DRIVERS)),
}


def build(world: World, edges: tuple[Edge, ...]) -> list[str]:
    names = []
    for above, below, *rest in edges:
        word = rest[0] if rest else "*"
        world.repo.delegate(above, below, paths=["*"] if word == "stop" else [word], terminating=word == "stop")
        names += [name for name in (above, below) if name not in ("targets", *names)]
    return names


@pytest.mark.parametrize("name", GRAPHS)
def test_5_6_7_delegations_are_searched(world: World, name: str) -> None:
    edges, order = GRAPHS[name]
    world.repo.release("targets", *build(world, edges))
    client = world.client()
    world.asked()
    assert client.find("missing") is None
    assert world.asked() == [f"1.{role}" for role in order]


FILES = {"fonts.txt": (FONTS, (FONTS,)), "acme/gpu/one.ko": (DRIVERS, (ACME, DRIVERS)),
         "acme/wifi/two.bin": (FIRMWARE, (ACME, FIRMWARE))}


def tree(world: World) -> None:
    names = build(world, ((TOP, FONTS, "*.txt"), (TOP, ACME, "acme/*/*"), (ACME, DRIVERS, "acme/*/*.ko"),
                          (ACME, FIRMWARE, "acme/wifi/*")))
    for path, (role, _) in FILES.items():
        world.repo.put(role, path, path.encode())
    world.repo.put(FIRMWARE, "acme/gpu/three.bin", b"never delegated to it")
    world.repo.put(TOP, "plain", b"plain")
    world.repo.release(TOP, *names)


@pytest.mark.parametrize(("path", "order"), [("plain", ()), *((path, order) for path, (_, order) in FILES.items())])
def test_5_6_7_target_is_found_by_its_path(world: World, path: str, order: tuple[str, ...]) -> None:
    tree(world)
    assert world.fetch(path) == path.encode()
    assert world.asked()[4:] == [f"1.{role}" for role in order]


def test_5_6_7_target_of_a_role_that_was_not_given_its_path_is_not_found(world: World) -> None:
    tree(world)
    assert world.client().find("acme/gpu/three.bin") is None


def test_5_6_7_1_only_so_many_roles_are_visited(world: World) -> None:
    names = [f"role{number:03}" for number in range(60)]
    for above, below in zip(("targets", *names), names, strict=False):
        world.repo.delegate(above, below)
    world.repo.put(names[-1], "deep", b"deep")
    world.repo.release("targets", *names)
    client = world.client()
    world.asked()
    assert client.find("deep") is None
    assert len(world.asked()) <= world.config.max_delegations


@pytest.mark.parametrize("role", ["?", "#", "/role", "../role", "a b", "..%2frole", "rôle"])
def test_role_of_an_odd_name_asks_for_that_and_writes_nowhere_else(world: World, role: str) -> None:
    world.repo.delegate("targets", role)
    world.repo.release("targets", role)
    before = {path for path in world.device.parent.rglob("*") if "state" not in path.parts}
    client = world.client()
    world.asked()
    assert client.find("missing") is None
    assert world.asked() == [f"1.{quote(role, '')}"]
    assert {path for path in world.device.parent.rglob("*") if "state" not in path.parts} == before
    assert all(path.parent == world.device / "state" for path in (world.device / "state").rglob("*"))


def test_publisher_is_still_there(world: World) -> None:
    """The ground that these cases stand on."""
    assert world.fetch() == CONTENT and world.remembers() == KNOWN and PUBLISHER in KNOWN
