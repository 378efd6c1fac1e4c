"""The boot script for U-Boot: `imagekit.boot.uboot.decide`, in the words that Debian's builds know.

Decides the text of `boot.scr`. One script for all boards; a board says where its partitions are and which files it
boots (`ScriptValues`), all else comes from U-Boot: `devtype`, `devnum` and the load addresses. Used are `part start`,
the device's own `read` and `write`, `load`, `env import`, `itest`, `setexpr`, `cmp`, `mw`, `cp`, `crc32`, `booti` or
`bootz`. No environment is saved. Every way out that is not a running kernel is `reset`, never the prompt.

All numbers are hexadecimal to U-Boot, but for those of partitions in `part start`. Its `crc32` stores four bytes whose
order differs by build: the sum of four zero bytes, 2144df1c, tells which, and `ik_fix` turns them little-endian.
Variables are kept in one word each, since `*` takes one plain address.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from imagekit.boot.slotstate import COPY_OFFSETS, LIMIT, TRIES
from imagekit.boot.uboot import COMPRESSED, DEVICE_TREE, ENV_NAME, ENV_SIZE, INITRD

SECTOR = 512

# Field of the record -> its offset.
_FIELDS = {"gen": 4, "slotp": 8, "tries": 9, "good": 0xA, "sick": 0xB, "other": 0xC, "form": 0xD, "rest": 0xE}
_REST = 0x1FC - 0xE
_SCRATCH = "pxefile_addr_r"
_VARIABLES = {"kernel": "kernel_addr_r", "initrd": "ramdisk_addr_r", "device-tree": "fdt_addr_r", "scratch": _SCRATCH,
              "unpack": "kernel_comp_addr_r"}
_TREE_AT = 0x10000  # of the device tree, where U-Boot knows no place for one


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptValues:
    """What a board says. Partitions by number in the table; `kernel` and `boot` as in `uboot.KERNELS`.

    Without `device_tree` the one that U-Boot was given is handed on. `addresses` says where kernel, initrd and
    device-tree are loaded, where 512 KiB are free as scratch, and where booti unpacks a compressed kernel before it
    moves it to where it was loaded. For what it does not say, U-Boot's variables count.
    """

    state: int
    boot_a: int
    boot_b: int
    kernel: str
    boot: str
    device_tree: bool
    addresses: Mapping[str, int] = field(default_factory=dict)


def render_script(values: ScriptValues) -> str:
    """The text of the script."""
    words = (*_memory(values), *_checksum(), *_record(), *_slots(values))
    return "\n".join((*words, *_read(values), *_choose(), *_boot(values), ""))


def needed_files(values: ScriptValues) -> tuple[str, ...]:
    """The files of a slot that the script loads."""
    return (values.kernel, INITRD, *([DEVICE_TREE] if values.device_tree else []))


def _memory(values: ScriptValues) -> list[str]:
    """Where things lie in memory: two copies, the record in work, a sum, and slot.env."""
    places = {"ik_r0": 0, "ik_r1": 0x200, "ik_w": 0x400, "ik_c": 0x600, "ik_e": 0x1000}
    places |= {f"ik_c{index}": 0x600 + index for index in range(1, 4)}
    places |= {f"ik_{name}": 0x400 + offset for name, offset in _FIELDS.items()}
    places |= {"ik_ec": 0x1000 + ENV_SIZE - 4}
    return [
        "# Made by imagekit. What it decides: docs/reference/boot-path.md.",
        "echo imagekit: boot script",
        *(f"setenv {_VARIABLES[name]} {address:x}" for name, address in sorted(values.addresses.items())),
        *(f"setexpr {name} ${{{_SCRATCH}}} + {offset:x}" for name, offset in places.items()),
        f'if test -n "${{fdt_addr_r}}"; then setenv ik_dtb ${{fdt_addr_r}};'
        f" else setexpr ik_dtb ${{{_SCRATCH}}} + {_TREE_AT:x}; fi",
        'if test -n "${fdt_addr}"; then setenv ik_fdt ${fdt_addr}; else setenv ik_fdt ${fdtcontroladdr}; fi',
    ]


def _checksum() -> list[str]:
    """`ik_sum`: the CRC-32 of the ik_n bytes at ik_a, little-endian at ik_c."""
    swap = "; ".join((*(f"setexpr.b ik_b{index} *${{ik_c{index or ''}}}" for index in range(4)),
                      *(f"mw.b ${{ik_c{index or ''}}} ${{ik_b{3 - index}}}" for index in range(4))))
    return [
        "mw.l ${ik_w} 0",
        "crc32 ${ik_w} 4 ${ik_c}",
        f"if itest.b *${{ik_c}} == 21; then setenv ik_fix '{swap}'; else setenv ik_fix true; fi",
        "setenv ik_sum 'crc32 ${ik_a} ${ik_n} ${ik_c}; run ik_fix'",
    ]


def _record() -> list[str]:
    """`ik_check`: ik_ok=1 when the copy at ik_p counts. `ik_switch`: the record of the other slot."""
    field = {name: f"setexpr ik_q ${{ik_p}} + {offset:x}" for name, offset in _FIELDS.items()}
    flags = ""
    for name in ("slotp", "good", "other"):
        flags += f"{field[name]}; if itest.b *${{ik_q}} -gt 1; then setenv ik_ok 0; fi; "
    return [
        "setenv ik_check 'setenv ik_ok 0; setenv ik_a ${ik_p}; setenv ik_n 1fc; run ik_sum;"
        " setexpr ik_q ${ik_p} + 1fc; if itest.l *${ik_p} == 31534b49; then if cmp.b ${ik_c} ${ik_q} 4; then"
        f" {field['form']}; if itest.b *${{ik_q}} == 1; then setenv ik_ok 1; {flags}fi; fi; fi'",
        "setenv ik_switch 'setexpr.b ik_x *${ik_good}; setexpr.b ik_y *${ik_other}; mw.b ${ik_good} ${ik_y};"
        " mw.b ${ik_other} ${ik_x}; mw.b ${ik_sick} 0; mw.b ${ik_tries} 0;"
        f" if itest.b *${{ik_good}} == 0; then mw.b ${{ik_tries}} {TRIES:x}; fi;"
        " if itest.b *${ik_slotp} == 0; then mw.b ${ik_slotp} 1; else mw.b ${ik_slotp} 0; fi; run ik_name'",
        "setenv ik_name 'setenv ik_here a; setenv ik_there b; if itest.b *${ik_slotp} == 1; then setenv ik_here b;"
        " setenv ik_there a; fi'",
    ]


def _slots(values: ScriptValues) -> list[str]:
    """`ik_load`: ik_sound=1 when all files of slot ik_s are in memory as its slot.env says."""
    names = {values.kernel: ("kernel", "kernel_addr_r"), INITRD: ("initrd", "ramdisk_addr_r"),
             DEVICE_TREE: ("dtb", "ik_dtb")}
    needed = needed_files(values)
    wanted = " ".join(f"ik_{names[name][0]}_{what}" for name in needed for what in ("size", "crc"))
    lines = [
        "setenv ik_file 'setenv ik_fits 0; if load ${devtype} ${devnum}:${ik_part} ${ik_a} ${ik_f}; then"
        " setenv ik_n ${filesize}; if test ${filesize} = ${ik_size}; then run ik_sum;"
        " if itest.l *${ik_c} == ${ik_crc}; then setenv ik_fits 1; fi; fi; fi;"
        " if test ${ik_fits} = 0; then setenv ik_sound 0; echo imagekit: slot ${ik_s}: ${ik_f} is missing or damaged;"
        " fi'",
    ]
    for index, name in enumerate(needed):
        short, address = names[name]
        lines.append(
            f"setenv ik_file{index} 'setenv ik_a ${{{address}}}; setenv ik_f {name};"
            f" setenv ik_size ${{ik_{short}_size}}; setenv ik_crc ${{ik_{short}_crc}}; run ik_file'")
    files = "".join(f" if test ${{ik_sound}} = 1; then run ik_file{index}; fi;" for index in range(len(needed)))
    lines += [
        "setenv ik_env 'setenv ik_fits 0; setenv ik_slot; mw.b ${ik_e} 0 " f"{ENV_SIZE:x};"
        f" if load ${{devtype}} ${{devnum}}:${{ik_part}} ${{ik_e}} {ENV_NAME} {ENV_SIZE:x}; then"
        f" setenv ik_a ${{ik_e}}; setenv ik_n {ENV_SIZE - 4:x}; run ik_sum; if cmp.b ${{ik_c}} ${{ik_ec}} 4; then"
        f" env import -t ${{ik_e}} {ENV_SIZE - 4:x} bootargs ik_slot {wanted};"
        ' if test "${ik_slot}" = ${ik_s}; then setenv ik_fits 1; fi; fi; fi;'
        f" if test ${{ik_fits}} = 0; then echo imagekit: slot ${{ik_s}}: {ENV_NAME} is missing or damaged; fi'",
        f"setenv ik_load 'if test ${{ik_s}} = a; then setenv ik_part {values.boot_a:x}; else setenv ik_part"
        f" {values.boot_b:x}; fi; run ik_env; setenv ik_sound ${{ik_fits}};{files} true'",
    ]
    return lines


def _read(values: ScriptValues) -> list[str]:
    """The record that counts into ik_w, the sector to write over into ik_old."""
    apart = COPY_OFFSETS[1] // SECTOR
    return [
        "# the two copies; what cannot be read does not count",
        "${devtype} dev ${devnum}",
        "mw.b ${ik_r0} 0 400",
        f"part start ${{devtype}} ${{devnum}} {values.state} ik_s0",
        f"setexpr ik_s1 ${{ik_s0}} + {apart:x}",
        "${devtype} read ${ik_r0} ${ik_s0} 1",
        "${devtype} read ${ik_r1} ${ik_s1} 1",
        "setenv ik_p ${ik_r0}; run ik_check; setenv ik_ok0 ${ik_ok}",
        "setenv ik_p ${ik_r1}; run ik_check; setenv ik_ok1 ${ik_ok}",
        "setenv ik_new 0; setenv ik_old ${ik_s1}",
        "if test ${ik_ok1} = 1; then",
        "  if test ${ik_ok0} = 1; then",
        "    # newer on the circle: the difference is not 0 and below 2^31",
        "    setexpr ik_x ${ik_r0} + 4; setexpr ik_y ${ik_r1} + 4",
        "    setexpr.l ik_d *${ik_y} - *${ik_x}; mw.l ${ik_c} ${ik_d}",
        "    if itest.l *${ik_c} != 0; then if itest.b *${ik_c3} -lt 80; then setenv ik_new 1; fi; fi",
        "  else",
        "    setenv ik_new 1",
        "  fi",
        "fi",
        "if test ${ik_new} = 1; then setenv ik_old ${ik_s0}; cp.b ${ik_r1} ${ik_w} 200;"
        " else cp.b ${ik_r0} ${ik_w} 200; fi",
        "if test ${ik_ok0}${ik_ok1} = 00; then",
        "  echo imagekit: the slot-state record is lost",
        "  setenv ik_old ${ik_s0}; mw.b ${ik_w} 0 200; mw.l ${ik_w} 31534b49; mw.b ${ik_form} 1;"
        f" mw.b ${{ik_tries}} {TRIES:x}",
        "fi",
    ]


def _choose() -> list[str]:
    """The slot to boot into ik_here, its files into memory; ik_sound=0 when neither can be loaded."""
    return [
        "# whether the slot of the record has had its chances",
        "run ik_name; setenv ik_weary 0; setenv ik_sound 0",
        "if itest.b *${ik_good} == 1; then",
        f"  if itest.b *${{ik_sick}} -ge {LIMIT:x}; then setenv ik_weary *${{ik_other}}; fi",
        "else",
        "  if itest.b *${ik_tries} == 0; then setenv ik_weary 1; fi",
        "fi",
        "if itest.b ${ik_weary} == 1; then",
        "  echo imagekit: slot ${ik_here} has had its chances",
        "  setenv ik_s ${ik_there}; run ik_load",
        "  if test ${ik_sound} = 1; then run ik_switch; fi",
        "fi",
        "if test ${ik_sound} = 0; then setenv ik_s ${ik_here}; run ik_load; fi",
        "if test ${ik_sound} = 0; then",
        "  setenv ik_s ${ik_there}; run ik_load",
        "  if test ${ik_sound} = 1; then run ik_switch; fi",
        "fi",
    ]


def _boot(values: ScriptValues) -> list[str]:
    """Count, write, boot."""
    boot = f"{values.boot} ${{kernel_addr_r}} ${{ramdisk_addr_r}}:${{ik_initrd_size}} ${{ik_fdt}}"
    return [
        "if test ${ik_sound} = 1; then",
        "  # counted before it begins",
        "  if itest.b *${ik_sick} -lt ff; then setexpr.b ik_x *${ik_sick} + 1; mw.b ${ik_sick} ${ik_x}; fi",
        "  if itest.b *${ik_tries} -gt 0; then setexpr.b ik_x *${ik_tries} - 1; mw.b ${ik_tries} ${ik_x}; fi",
        "  setexpr.l ik_x *${ik_gen} + 1; mw.l ${ik_gen} ${ik_x}",
        f"  mw.b ${{ik_rest}} 0 {_REST:x}",
        "  setenv ik_a ${ik_w}; setenv ik_n 1fc; run ik_sum; setexpr ik_q ${ik_w} + 1fc; cp.b ${ik_c} ${ik_q} 4",
        "  if ${devtype} write ${ik_w} ${ik_old} 1; then true;"
        " else echo imagekit: cannot write the slot-state record; fi",
        *(["  setenv ik_fdt ${ik_dtb}"] if values.device_tree else []),
        *(["  setenv kernel_comp_size ${ik_kernel_size}"] if values.kernel == COMPRESSED else []),
        "  echo imagekit: slot ${ik_here}",
        f"  {boot}",
        "  echo imagekit: slot ${ik_here} does not start",
        "else",
        "  echo imagekit: neither slot can be loaded, starting over",
        "  sleep 5",
        "fi",
        "reset",
    ]
