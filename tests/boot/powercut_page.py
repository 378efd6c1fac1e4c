"""The part of docs/reliability.md that docs/powercut/*.json give: `python -m tests.boot.powercut_page`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imagekit.powercut.sweep import Medium
from tests.boot.boards import ROOT
from tests.parts import with_part

PAGE, RECORDS = ROOT / "docs" / "reliability.md", ROOT / "docs" / "powercut"
SUMS = ("prefixes", "torn", "reorderings", "sampled", "judged", "unbootable")


def read_records(folder: Path = RECORDS) -> list[dict[str, Any]]:
    """The records of all boards, by name."""
    return [json.loads(path.read_bytes()) for path in sorted(folder.glob("*.json"))]


def with_records(page: str, records: Sequence[dict[str, Any]]) -> str:
    """The page with its part made anew."""
    return with_part(page, "powercut", part(records))


def part(records: Sequence[dict[str, Any]]) -> str:
    """The part itself."""
    lines = ["", "| board | requests | sectors | flushes | prefixes | torn | reorderings | classes | booted"
                 " | unbootable | image | commit |", "|---|" + "--:|" * 9 + "---|---|"]
    for record in records:
        lines.append(_row(record))
    lines.append("")
    for record in records:
        lines += _told(record)
    return "\n".join(lines)


def _row(record: dict[str, Any]) -> str:
    shards = list(record["shards"].values())
    one = shards[0]
    total = {key: sum(shard[key] for shard in shards) for key in SUMS}
    boots = [boot for shard in shards for boot in shard["booted"]]
    agreed = sum(boot["agrees"] for boot in boots)
    booted = f"{len(boots)}" if agreed == len(boots) else f"{len(boots)}, **{len(boots) - agreed} otherwise**"
    lost = f"{total['unbootable']:,}" if not total["unbootable"] else f"**{total['unbootable']:,}**"
    cells = [record["board"], *(f"{one[key]:,}" for key in ("requests", "sectors", "flushes")),
             *(f"{total[key]:,}" for key in ("prefixes", "torn", "reorderings")), str(len(_classes(record))), booted,
             lost, f"`{record['image'][:20]}`", ", ".join(dict.fromkeys(shard["commit"][:12] for shard in shards))]
    return f"| {' | '.join(cells)} |"


def _classes(record: dict[str, Any]) -> dict[tuple[str, str], int]:
    """States by what comes up and what is remembered, over all shards."""
    found: dict[tuple[str, str], int] = {}
    for shard in record["shards"].values():
        for item in shard["classes"]:
            data = f"; the data partition {item['data']}" if item.get("data") else ""
            key = (item["problem"] or "; ".join(item["way"]) + f" ({', '.join(item['menu'])}){data}", item["record"])
            found[key] = found.get(key, 0) + item["states"]
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _told(record: dict[str, Any]) -> list[str]:
    shards = record["shards"]
    epochs, sampled = next(iter(shards.values()))["epochs"], sum(shard["sampled"] for shard in shards.values())
    judged = sum(shard["judged"] for shard in shards.values())
    count = int(next(iter(shards)).partition("/")[2])
    whole = "" if len(shards) == count else f" **Only {len(shards)} of {count} shards were run.**"
    came = record["recorded"]
    slots = " then ".join(came["slots"])
    subsets = (f"Of {epochs:,} epochs {epochs - sampled:,} were judged in every subset, {sampled:,} were sampled"
               if next(iter(shards.values()))["medium"] == Medium.EPOCHS else
               "The card slot shows no flushes: what was written is there up to some sector, nothing after")
    return [f"**{record['board']}**: {came['boots']} boot{'s' * (came['boots'] != 1)}, healthy in slot {slots},"
            f" recorded in {came['seconds']:.0f} s with {record['emulator']}. {subsets}; {judged:,} verdicts were"
            f" worked out.{whole} Repeat:", "",
            *(f"    {command}" for command in dict.fromkeys(shard["command"] for shard in shards.values())), "",
            *_uncounted([boot for shard in shards.values() for boot in shard["booted"]]),
            *_data(list(shards.values())),
            *_again([item for shard in shards.values() for item in shard.get("again", ())]),
            *_broken([item for shard in shards.values() for item in shard["booted"] if item.get("problem")]),
            "| states | what boots (what the loader's menu holds) | the record |", "|--:|---|---|",
            *(f"| {number:,} | {way} | {told} |" for (way, told), number in _classes(record).items()), ""]


def _data(shards: list[dict[str, Any]]) -> list[str]:
    """What was found in data partitions, where any were looked into."""
    checked, lost = (sum(numbers) for numbers in zip(
        *((shard.get("checked", 0), len(shard.get("lost", ()))) for shard in shards), strict=True))
    told = f"**{lost} had lost something**" if lost else "none had lost anything"
    return [f"{checked} data partitions were put in order as the device does it and looked into: {told}.", ""
            ] if checked else []


def _uncounted(boots: list[dict[str, Any]]) -> list[str]:
    """Older records say which slot came, and not after how many boots."""
    return ["How many boots each state took was not looked at then, only what came.", ""
            ] if any("boots" not in boot for boot in boots) else []


def _broken(boots: list[dict[str, Any]]) -> list[str]:
    """The states that only a disk leaves which never flushes, where any were booted."""
    if not boots:
        return []
    lines = ["States that only a disk leaves which never flushes, booted:", "",
             "| state | why it is unbootable | the boots that the models tell | what came |", "|---|---|---|---|"]
    for item in boots:
        came = f"slot {item['came']}, boot {item['boots']}" if item["came"] else "nothing"
        told = came if item["agrees"] else f"**{came}**"
        lines.append(f"| {item['state']} | {item['problem']} | {'; '.join(item['way'])} | {told} |")
    return [*lines, ""]


def _again(recoveries: list[dict[str, Any]]) -> list[str]:
    """The boots that recover, where any were cut."""
    if not recoveries:
        return []
    lines = ["The boot that recovers, recorded and cut at every write:", "",
             "| from | prefixes | torn | reorderings | unbootable | data lost |", "|---|--:|--:|--:|--:|--:|"]
    for item in recoveries:
        counts = [f"{item[key]:,}" for key in ("prefixes", "torn", "reorderings", "unbootable")]
        lines.append(f"| {' | '.join([item['state'], *counts, str(len(item['lost']))])} |")
    return [*lines, ""]


if __name__ == "__main__":
    PAGE.write_text(with_records(PAGE.read_text(), read_records()))
