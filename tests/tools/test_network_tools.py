"""The network check against a real kernel: a device and its gateway, each in a network namespace of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from imagekit.boot.slotstate import FACTORY, Slot, begin_boot, begin_trial
from imagekit.device.machine import Machine
from imagekit.device.network import check_network
from imagekit.device.report import load_report
from tests.tools.conftest import ADMIN_PATH, require
from tests.unit.device.conftest import Device
from tests.unit.device.test_network import DEMANDED

pytestmark = pytest.mark.tools

ROOT = Path(__file__).parents[2]
WORLD = """
set -e
mount -t sysfs none "$1/kernel"
unshare -n sleep 600 & gateway=$!
trap 'kill $gateway' EXIT
until [ "$(readlink /proc/$gateway/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.1; done
ip link add eth0 type veth peer name far
ip link set far netns $gateway
far() { nsenter -t $gateway -n ip "$@"; }
far link set far up
far addr add 192.0.2.1/24 dev far
far addr add fd00::1/64 dev far nodad
look() { echo "$2: $("$PYTHON" -m tests.tools.test_network_tools "$1" "$3")"; }
look "$1" "interface down" 0
ip link set eth0 up
ip addr add 192.0.2.2/24 dev eth0
ip addr add fd00::2/64 dev eth0 nodad
look "$1" "no route" 0
ip route add default via 192.0.2.9
look "$1" "nobody there" 5
ip route replace default via 192.0.2.1
look "$1" "ipv4" 60
ip route del default
ip -6 route add default via fd00::9
look "$1" "nobody there by ipv6" 5
ip -6 route replace default via fd00::1
look "$1" "ipv6" 60
far link set far down
look "$1" "no cable" 0
"""
SEEN = """\
interface down: False not there for 0 s: no default route
no route: False not there for 0 s: no default route
nobody there: False not there for 5 s: eth0, gateway 192.0.2.9 does not answer
ipv4: True eth0, gateway 192.0.2.1
nobody there by ipv6: False not there for 5 s: eth0, gateway fd00::9 does not answer
ipv6: True eth0, gateway fd00::1
no cable: False not there for 0 s: eth0, gateway fd00::1 has no carrier
"""


def test_network_is_what_the_kernel_and_its_neighbours_say(tmp_path: Path) -> None:
    require("unshare", "nsenter", "ip")
    device = Device(tmp_path)
    for name in ("run", "dev", "proc", "kernel", "sys/class"):
        (tmp_path / name).mkdir(parents=True)
    device.report(slot="b", fallback=True)
    device.record(begin_boot(begin_trial(FACTORY), Slot.B).record)
    device.seed(**DEMANDED)
    (tmp_path / "sys/class/net").symlink_to(tmp_path / "kernel/class/net")
    (tmp_path / "proc/net").symlink_to("/proc/self/net")
    done = subprocess.run(["unshare", "-Urnm", "sh", "-c", WORLD, "world", tmp_path], cwd=ROOT, text=True,
                          capture_output=True, check=False,
                          env={**os.environ, "PATH": ADMIN_PATH, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT)})
    if "unshare failed" in done.stderr or "mount:" in done.stderr or "RTNETLINK" in done.stderr:
        why = f"this machine lets nobody have a network of his own: {done.stderr.strip()}"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    assert done.stdout == SEEN, done.stderr


def tell(folder: Path, wait_s: float) -> None:
    """What the check finds on the device in this folder, with the kernel that this process has."""
    machine = replace(Device(folder).machine, answers=Machine().answers)
    found = check_network(machine, load_report(folder / "run"), wait_s=wait_s)
    print(found.ok, found.detail)


if __name__ == "__main__":
    tell(Path(sys.argv[1]), float(sys.argv[2]))
