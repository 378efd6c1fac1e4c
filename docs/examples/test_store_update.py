"""A device takes an update from its store by itself, and is watched; `./bootstrap demo --update` ends with it.

Needs a store that is served where the image says, with something newer than the image.
"""

from imagekit.qemu.machine import Network

STEPS = (
    (r"slot a is healthy", "the device is up, in slot a"),
    (r"update: asking the store at (\S+)", "it asks its store, {}"),
    (r"update: fetching (\S+), (.+)", "there is something for it: it fetches {}, {}"),
    (r"update: writing the base of slot b", "the new base goes into slot b, while slot a runs"),
    (r"update: the loader gets the entry of slot b", "read back and verified; the loader may try slot b"),
    (r"update: rebooting", "it reboots"),
    (r"slot b is healthy", "the new base is healthy, and stays"),
)


def test_device_updates_itself(device):
    device.connect(Network(ask=True))
    device.power_on()
    for pattern, words in STEPS:
        match = device.expect(rf"imagekit: {pattern}", timeout_s=600)
        print(f"  {device.transcript.lines[-1].time_s:5.0f} s  {words.format(*match.groups())}", flush=True)
