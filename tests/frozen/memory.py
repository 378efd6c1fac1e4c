"""What a device keeps on its data partition: each file as today's code writes it, under the name that it is found by.

Only what code of ours decides is here: python-tuf's files below `store` are its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from imagekit.assertions import Assertion, decode_stream, encode_stream
from imagekit.device import addresses, history, rhythm, wishes
from imagekit.device.history import Advisory, Change, Failed, History, ModelFloor, Pending, Waiting
from imagekit.device.machine import Machine
from imagekit.device.wishes import Owner
from imagekit.plan.policy import Urgent
from imagekit.plan.schedule import Wishes
from imagekit.plan.windows import parse_windows
from imagekit.testing.documents import Brand
from tests.frozen.format import Format, Holds, in_folder, places

WHERE = "var/lib/imagekit/updates"
PAIR = (("debian-13", 3), ("pc-kernel", 2))
TOLD = (Advisory(name="debian-13", revision=3, update_class="security", text="a hole in the pump"),)
HISTORY = History(
    floors={"debian-13": 2, "pc-kernel": 2},
    failed=(Failed(packages=PAIR, reason="hooks: pump is dry", time="2026-06-02T00:00:00Z"),),
    pending=Pending(slot="b", packages=PAIR, base_root="b" * 64, kernel_root="c" * 64, trial=True,
                    time="2026-06-03T00:00:00Z", reasons=("hooks: pump is dry",), update_class="security",
                    advisories=TOLD),
    hold_until="2026-06-09T00:00:00Z", latest="2026-06-01T00:00:00Z",
    changes=(Change(time="2026-06-03T00:00:00Z", what="install", packages=PAIR, outcome="failed", reason="dry",
                    update_class="urgent", advisories=TOLD),),
    checked="2026-06-04T00:00:00Z", check="nothing newer", waiting=3,
    waits=Waiting(packages=PAIR, update_class="feature", since="2026-06-03T12:00:00Z", why="outside-window",
                  until="2026-06-05T22:00:00Z", advisories=TOLD),
    answered="2026-06-04T06:00:00Z", unanswered=2, model=ModelFloor(revision=4, sha3_384="d" * 96))
OWNER = Owner(wishes=Wishes(automatic=False, windows=parse_windows("Mon..Fri 22:00-04:00"), urgent=Urgent.WAIT),
              held_until="2026-06-09T00:00:00Z")
BEYOND = (3, 7200)


def roots() -> tuple[Assertion, ...]:
    return Brand().roots


def store() -> tuple[Assertion, ...]:
    brand = Brand()
    return (brand.sign({
        "type": "store", "authority-id": "acme", "revision": "2", "store": "acme-store", "operator-id": "acme",
        "url": "https://updates.example.com", "mirrors": ("https://mirror.example.com",),
        "timestamp": "2026-01-01T00:00:00Z"}, body=b"{}\n"), *brand.roots)


def model() -> tuple[Assertion, ...]:
    brand = Brand()
    return (brand.model(revision="2"), *brand.roots)


def _machine(folder: Path) -> Machine:
    (folder / "run").mkdir()
    return Machine(run=folder / "run", var=folder / "var")


def kept(name: str, save: Callable[[Machine], object], load: Callable[[Machine], Any], value: Any, *,
         holds: Holds = Holds.KEYS) -> Format:
    """A file of the memory, written and read by those who do so on a device."""
    def encode(folder: Path) -> bytes:
        save(_machine(folder))
        return (folder / WHERE / name).read_bytes()

    def decode(folder: Path, raw: bytes) -> Any:
        (folder / WHERE).mkdir(parents=True)
        (folder / WHERE / name).write_bytes(raw)
        return load(_machine(folder))

    return Format(encode=lambda: bytes(in_folder(encode)), value=value, holds=holds,
                  decode=lambda raw: in_folder(lambda folder: decode(folder, raw)))


def proved(name: str, called: Callable[[], str], stream: Callable[[], tuple[Assertion, ...]]) -> Format:
    """A stream of assertions in the memory."""
    return kept(name, lambda machine: history.save(machine, called(), encode_stream(stream())),
                lambda machine: decode_stream((history.folder_of(machine) / called()).read_bytes(), name=name),
                stream(), holds=Holds.NOTHING)


def lies() -> dict[str, Any]:
    """Folders of the data partition, below /var."""
    return {"memory": history.FOLDER, "believed-of-the-store": f"{history.FOLDER}/{addresses.METADATA}",
            "downloads": f"{history.FOLDER}/{addresses.DOWNLOADS}"}


MEMORY: Mapping[str, Format] = {
    "data-partition.json": places(lies),
    "state.json": kept("state.json", lambda machine: history.save_history(machine, HISTORY), history.load_history,
                       HISTORY),
    "wishes.json": kept("wishes.json", lambda machine: wishes.save_owner(machine, OWNER), wishes.load_owner, OWNER),
    "rhythm.json": kept("rhythm.json", lambda machine: rhythm._save_beyond(
        machine, lost_boots=BEYOND[0], counted_s=BEYOND[1]), rhythm._load_beyond, BEYOND),
    "keys.assert": proved("keys.assert", lambda: history.KEYS, roots),
    "store.assert": proved("store.assert", lambda: addresses.KEPT, store),
    "model.assert": proved("model.assert", lambda: history.MODEL, model),
}
