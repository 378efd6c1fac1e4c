"""Is KVM of this host usable? Found out by running a guest, because `/dev/kvm` may open and still be useless.

Seen in the field: QEMU aborts under `-cpu host`; a guest in real mode runs (slowly) while the same guest hangs for ever
once it turns paging on. So the guest is a boot sector that goes to 64-bit mode, fills page tables, touches 512 pages,
executes CPUID 64 times and counts to fifty million, then says `IK` on the debug console and powers off; a sane KVM
needs well under a second. Whatever else happens within the deadline means no. The answer is kept for one boot of the
host and one QEMU version, in the cache folder.

Sources: Intel SDM volume 3, 10.8.5 (entering IA-32e mode); QEMU docs/specs: debug console at port 0xe9, and the ACPI
PM1a control port of the `pc` machine at 0x604.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from imagekit.errors import HostError
from imagekit.host.files import no_space
from imagekit.host.ports import Tools

DEADLINE_S = 5.0
SAID = b"IK"

_GUEST = (
    "fa31c08ed88ec08ed0bc007c",  # cli; ds = es = ss = 0; sp = 0x7c00
    "e4920c02e692",  # A20 on by port 0x92
    "bf00106631c0b9000c66f3ab",  # clear 0x1000..0x4000: PML4, PDPT, PD
    "66c70600100320000066c706002003300000",  # PML4[0] = 0x2003, PDPT[0] = 0x3003
    "bf003066b883000000b9000266890566050000200083c708e2f2",  # PD[0..511]: 2 MiB pages, present, writable
    "0f20e06683c8200f22e066b8001000000f22d8",  # CR4.PAE; CR3 = 0x1000
    "66b9800000c00f32660d000100000f30",  # EFER.LME
    "0f0116107d0f20c0660d010000800f22c0ea837c0800",  # GDT; CR0.PE and PG; far jump to 64-bit code at 0x7c83
    "b8100000008ed88ec08ed0",  # data segments
    "48c7c700004000b90002000048893f4881c700100000e2f4",  # write its address into each of 512 pages from 4 MiB
    "48c7c700004000b90002000048393f75264881c700100000e2f2",  # read them back; on a difference go to say "NO"
    "be4000000031c00fa2ffce75f8",  # CPUID 64 times
    "b980f0fa02ffc975fc",  # count down from fifty million
    "b8494b0000eb05b84e4f0000",  # "IK", or "NO"
    "e6e988e0e6e9",  # say it on port 0xe9
    "66ba040666b8002066eff4ebfd",  # power off by port 0x604; halt for good
    "0f1f00",  # padding
    "000000000000000000000000009a200000000000009200001700f87c0000",  # GDT: null, 64-bit code, data; its pointer
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KvmAnswer:
    """Whether to use KVM, and why, in words for people."""

    usable: bool
    reason: str


def boot_sector() -> bytes:
    """The probing guest: 512 bytes, loaded at 0x7c00."""
    code = bytes.fromhex("".join(_GUEST))
    return code.ljust(510, b"\0") + b"\x55\xaa"


def probe_kvm(tools: Tools, emulator: str, *, cache: Path, device: Path = Path("/dev/kvm"),
              boot_id: Path = Path("/proc/sys/kernel/random/boot_id")) -> KvmAnswer:
    """Ask the cache, else run the guest under KVM with `-cpu host` and remember what happened."""
    if not device.exists():
        return KvmAnswer(usable=False, reason=f"{device} does not exist")
    if not os.access(device, os.R_OK | os.W_OK):
        return KvmAnswer(usable=False, reason=f"{device} may not be opened by this user (group kvm)")
    version = tools.run(emulator, "--version").stdout.decode("utf-8", "replace").partition("\n")[0]
    host = f"{boot_id.read_text().strip()} {version}"
    remembered = _remembered(cache / "kvm-probe.json", host)
    if remembered is not None:
        return remembered
    answer = run_guest(tools, emulator, "kvm", "host", folder=cache)
    _remember(cache / "kvm-probe.json", host, answer)
    return answer


def run_guest(tools: Tools, emulator: str, accelerator: str, cpu: str, *, folder: Path,
              deadline_s: float = DEADLINE_S) -> KvmAnswer:
    """Run the boot sector once. `folder` takes the 512-byte disk for that time. Raises: HostError: it cannot."""
    disk = folder / f"kvm-probe-{os.getpid()}.img"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        disk.write_bytes(boot_sector())
    except OSError as error:
        raise no_space(disk, error) from error
    try:
        finished = tools.run(
            emulator, "-nodefaults", "-no-user-config", "-machine", "pc", "-accel", accelerator, "-cpu", cpu,
            "-m", "64M", "-display", "none", "-nic", "none", "-debugcon", "stdio",
            "-drive", f"if=ide,format=raw,file={str(disk).replace(',', ',,')}", stdin=b"", timeout_s=deadline_s)
    except HostError as error:
        last = f" ({error.details[-1]})" if error.details else ""
        return KvmAnswer(usable=False, reason=f"a tiny guest under {accelerator} failed: {error.message}{last}")
    finally:
        disk.unlink(missing_ok=True)
    if finished.stdout.strip() != SAID:
        return KvmAnswer(usable=False, reason=f"a tiny guest under {accelerator} computed wrongly")
    return KvmAnswer(usable=True, reason=f"a tiny guest ran under {accelerator}")


def _remembered(path: Path, host: str) -> KvmAnswer | None:
    try:
        record = json.loads(path.read_bytes())
        if record["host"] == host:
            return KvmAnswer(usable=record["usable"] is True, reason=str(record["reason"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None


def _remember(path: Path, host: str, answer: KvmAnswer) -> None:
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_text(json.dumps({"host": host, **asdict(answer)}) + "\n")
    part.replace(path)
