"""A device takes an update from its store by itself, and goes back from a broken one; `./bootstrap demo --update`.

Needs a store that is served where the image says, with something newer than the image. What is broken comes into the
store by the command lines in the environment variable PUBLISH, one a line; without it the device is left alone then.
"""

import os
import shlex
import subprocess

from imagekit.qemu.machine import Network

GOOD = (
    (r"slot a is healthy", "the device is up, in slot a"),
    (r"update: asking the store at (\S+)", "it asks its store, {}"),
    (r"update: fetching (\S+), (.+)", "there is something for it: it fetches {}, {}"),
    (r"update: writing the base of slot b", "the new base goes into slot b, while slot a runs"),
    (r"update: the loader is told of slot b", "read back and verified; the loader may try slot b"),
    (r"update: rebooting", "it reboots"),
    (r"slot b is healthy", "the new base is healthy, and stays"),
)
BROKEN = (
    (r"slot b is healthy", "up again, still in slot b"),
    (r"update: fetching (\S+), (.+)", "there is something for it again: it fetches {}, {}"),
    (r"update: writing the base of slot a", "the broken base goes into slot a, while slot b runs"),
    (r"update: rebooting", "it is signed and whole, so it is tried"),
    *((r"slot a is NOT healthy; (.+)", f"{count} boot in slot a: {{}}") for count in ("first", "second", "third")),
    (r"slot b is healthy", "back in slot b, which runs as before; nobody was there"),
    (r"update: (.+) was tried on .* and failed: (.+)", "it will not take {} again: {}"),
)


def watch(device, steps):
    for pattern, words in steps:
        match = device.expect(rf"imagekit: {pattern}", timeout_s=900)
        print(f"  {device.transcript.lines[-1].time_s:5.0f} s  {words.format(*match.groups())}", flush=True)


def test_device_updates_itself(device):
    device.connect(Network(ask=True))
    device.power_on()
    watch(device, GOOD)
    for line in os.environ.get("PUBLISH", "").splitlines():
        print(f"\n$ {line}", flush=True)
        subprocess.run(shlex.split(line), check=True)
    if os.environ.get("PUBLISH"):
        print("\nIt asks at every boot, so that nobody waits six hours here: its power is cut, and comes back.")
        device.power_cut()
        device.power_on()
        watch(device, BROKEN)
