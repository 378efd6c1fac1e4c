"""USB devices as sysfs has them, from a folder that looks like it."""

from __future__ import annotations

from pathlib import Path

from imagekit.host.usbdevices import UsbDevice, usb_devices


def plug(root: Path, port: str, **files: str) -> None:
    """A device in the folder `root`; a word with `interface` is its class, subclass and protocol."""
    folder = root / "sys/bus/usb/devices" / port
    folder.mkdir(parents=True)
    interface = files.pop("interface", "")
    for name, text in files.items():
        (folder / name).write_text(text + "\n")
    if interface:
        below = folder / f"{port}:1.0"
        below.mkdir()
        for name, text in zip(("Class", "SubClass", "Protocol"), interface.split(), strict=True):
            (below / f"bInterface{name}").write_text(text + "\n")


def listed(root: Path) -> tuple[UsbDevice, ...]:
    return usb_devices(sys=root / "sys", dev=root / "dev")


def test_device_is_read_with_its_interfaces(tmp_path: Path) -> None:
    plug(tmp_path, "1-1.4", idVendor="1f3a", idProduct="1010", busnum="1", devnum="12", serial="A\x1b1",
         manufacturer="Allwinner", product="fastboot", interface="ff 42 03")
    plug(tmp_path, "usb1", idVendor="1d6b", idProduct="0002", busnum="1", devnum="1")
    assert listed(tmp_path) == (UsbDevice(
        port="1-1.4", vendor=0x1F3A, product=0x1010, bus=1, address=12, serial="A?1", name="Allwinner fastboot",
        interfaces=((0xFF, 0x42, 3),)),)
    assert str(listed(tmp_path)[0]) == "USB device 1f3a:1010 at port 1-1.4 (Allwinner fastboot) serial A?1"


def test_device_that_is_just_being_pulled_out_is_left_out(tmp_path: Path) -> None:
    plug(tmp_path, "1-1", idVendor="1f3a")
    assert listed(tmp_path) == ()
    assert usb_devices(sys=tmp_path / "none") == ()
