"""What a check costs the store, and how many a store takes: `python -m tests.scale.store_load [--record]`.

A store with two hundred targets is made and served by nginx with two workers. What a check asks for is read from
nginx's log while the client that devices use checks: once with nothing new, once with a release. Then wrk asks for the
same files over kept-open connections; it shares the machine's cores with nginx.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from imagekit.host.storeclient import Local, open_client
from imagekit.plan.channelmap import parse_channel_map
from imagekit.plan.storepaths import assertions_path, channels_path, package_path
from imagekit.testing.images import noise
from imagekit.testing.stores import StoreRig
from tests.bench.record import machine, output
from tests.scale.page import RECORDS, save, write_page
from tests.tools.store_server import nginx

REVISIONS = 22  # of each of three packages: three targets each, and their maps
DELTA = 330_000  # bytes: a small delta, so that it is requests that are counted
SECONDS, CONNECTIONS = 10, 64
_LOG = re.compile(r'"GET (?P<path>\S+) [^"]*" (?P<status>\d+) (?P<bytes>\d+)')


def filled(folder: Path) -> StoreRig:
    rig = StoreRig(folder=folder / "store", packages=folder / "packages")
    rig.create()
    rig.add_publisher(patterns=("small", "other", "third"))
    for number in range(1, REVISIONS):
        rig.publish(*(rig.package(number, name) for name in ("small", "other", "third")), channel="stable")
    return rig


def asked(log: Path, already: int) -> tuple[list[dict[str, Any]], int]:
    """The requests since line `already` of nginx's log: path, status, bytes of the body."""
    lines = log.read_text().splitlines()
    found = [match for line in lines[already:] if (match := _LOG.search(line))]
    return [{"path": item["path"], "status": int(item["status"]), "bytes": int(item["bytes"])}
            for item in found], len(lines)


def check(url: str, device: Path, root: bytes, *, take: int | None = None) -> None:
    """A check of one package by a device that knows its channel map; `take`: a revision that is new to it."""
    client = open_client(url, Local(state=device / "metadata", downloads=device / "targets", root=root))
    target = client.find(channels_path("small"))
    assert target is not None
    if take is None:
        return
    channels = parse_channel_map(client.fetch(target).read_bytes(), name="small")
    revision = channels.find(take)
    assert revision is not None
    for name in (assertions_path("small", take), package_path("small", take, revision.compression)):
        found = client.find(name)
        assert found is not None
        client.fetch(found)


def costs(url: str, folder: Path, rig: StoreRig) -> dict[str, Any]:
    log, device = folder / "nginx/access.log", folder / "device"
    check(url, device, rig.first_root)
    _, seen = asked(log, 0)
    check(url, device, rig.first_root)
    idle, seen = asked(log, seen)
    rig.publish(rig.package(REVISIONS), channel="stable")
    check(url, device, rig.first_root, take=REVISIONS)
    update, _ = asked(log, seen)
    without = [item for item in update if "/packages/" not in item["path"]]
    return {"idle": {"requests": len(idle), "bytes": sum(item["bytes"] for item in idle), "of": idle},
            "update": {"requests": len(update), "bytes_without_package": sum(item["bytes"] for item in without),
                       "of": update}}


def load(program: str, url: str, rounds: int) -> dict[str, Any]:
    """Requests a second, of each round."""
    found = []
    for _ in range(rounds):
        said = subprocess.run([program, "-t", "1", "-c", str(CONNECTIONS), "-d", f"{SECONDS}s", url], check=True,
                              capture_output=True, text=True).stdout
        rate = re.search(r"Requests/sec:\s*([\d.]+)", said)
        assert rate, said
        found.append(float(rate[1]))
    return {"rounds": found, "median": statistics.median(found)}


def measure(rounds: int) -> dict[str, Any]:
    server, wrk = shutil.which("nginx") or "/usr/sbin/nginx", shutil.which("wrk")
    if wrk is None:
        sys.exit("wrk is missing: apt-get install wrk")
    with tempfile.TemporaryDirectory(prefix="imagekit-load-") as name:
        folder = Path(name)
        rig = filled(folder)
        (rig.public / "delta").write_bytes(noise("delta", DELTA))
        with nginx(server, rig.public, folder / "nginx") as url:
            cost = costs(url, folder, rig)
        with nginx(server, rig.public, folder / "fast", workers=2, connections=512, more="access_log off;") as url:
            root = max(int(path.name.partition(".")[0]) for path in rig.public.glob("metadata/*.root.json"))
            rates = {"timestamp": load(wrk, f"{url}/metadata/timestamp.json", rounds),
                     "next root, not there": load(wrk, f"{url}/metadata/{root + 1}.root.json", rounds),
                     "delta": load(wrk, f"{url}/delta", rounds)}
        targets = sum(path.is_file() for path in (rig.public / "targets").rglob("*"))
    return {"cost": cost, "rates": rates, "targets": targets, "delta_bytes": DELTA, "seconds": SECONDS,
            "connections": CONNECTIONS, "machine": machine(), "commit": output("git", "rev-parse", "HEAD"),
            "command": f"./bootstrap bench --store --rounds={rounds}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--record", action="store_true", help=f"keep it in {RECORDS.name}/ and write the page anew")
    told = parser.parse_args()
    found = measure(told.rounds)
    print(json.dumps({key: value for key, value in found.items() if key != "cost"}, indent=1))
    for name, cost in found["cost"].items():
        print(name, *(f"\n  {item['status']} {item['bytes']:>8} {item['path']}" for item in cost["of"]))
    if told.record:
        save("store", found)
        write_page()


if __name__ == "__main__":
    main()
