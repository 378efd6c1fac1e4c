"""Updates in place: what forbids one, what is rewritten and in which order, what stays."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from imagekit.gadget import Era, Gadget, parse_gadget
from imagekit.packages.kernelyaml import KernelContents, parse_kernel_yaml
from imagekit.plan.gadget_update import Action, GadgetUpdate, Side, plan_gadget_update
from imagekit.schema import load_yaml

REAL = sorted((Path(__file__).parent.parent.parent / "data" / "gadgets").glob("*.yaml"))

BASE = """\
volumes:
  pc:
    schema: gpt
    bootloader: grub
    structure:
      - {name: mbr, type: mbr, size: 440, content: [{image: mbr.img}]}
      - name: seed
        role: system-seed
        type: C12A7328-F81F-11D2-BA4B-00A0C93EC93B
        filesystem: vfat
        size: 100M
        update: {edition: 1, preserve: [grubenv]}
        content: [{source: shim.efi, target: EFI/}]
      - name: boot
        role: system-boot
        type: 0FC63DAF-8483-4772-8E79-3D69D8477DE4
        filesystem: vfat
        size: 50M
        min-size: 20M
        content:
          - {source: boot.sel, target: boot.sel}
          - {source: "$kernel:dtbs/dtbs/", target: /}
      - {name: raw, type: bare, size: 1M, content: [{image: raw.img}]}
      - name: data
        role: system-data
        type: 0FC63DAF-8483-4772-8E79-3D69D8477DE4
        filesystem: ext4
        size: 200M
"""
KERNEL = "assets: {dtbs: {update: true, content: [dtbs/]}, other: {content: [x]}}"


def gadget(text: str) -> Gadget:
    return parse_gadget(load_yaml(text, name="gadget.yaml"), era=Era.UC20)


def changed(*changes: tuple[int, str, object]) -> Gadget:
    """The gadget with keys of structures set, or taken away by None."""
    document = yaml.safe_load(BASE)
    for index, key, value in changes:
        structure = document["volumes"]["pc"]["structure"][index]
        structure[key] = value
        if value is None:
            del structure[key]
    return gadget(yaml.safe_dump(document))


def volume_changed(key: str, value: object) -> Gadget:
    document = yaml.safe_load(BASE)
    document["volumes"]["pc"][key] = value
    return gadget(yaml.safe_dump(document))


def kernel(text: str = KERNEL, **files: int) -> KernelContents:
    return KernelContents(info=parse_kernel_yaml(load_yaml(text, name="kernel.yaml")),
                          files={name.replace("__", "/"): size for name, size in files.items()} or None)


def update(new: Gadget, old: Gadget | None = None) -> GadgetUpdate:
    return plan_gadget_update(Side(gadget=old or gadget(BASE)), Side(gadget=new))


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_published_gadget_updates_to_itself_and_nothing_is_written(path: Path) -> None:
    one = parse_gadget(load_yaml(path.read_bytes(), name=path.name))
    answer = update(one, one)
    assert (answer.allowed, answer.writes) == (True, ())


@pytest.mark.parametrize(("changes", "reason"), [
    ([(1, "name", "seed2")], "volume 'pc', structure 'seed2': its name changes from 'seed' to 'seed2'"),
    ([(3, "role", "system-boot-image"), (3, "type", "0FC63DAF-8483-4772-8E79-3D69D8477DE4")],
     "volume 'pc', structure 'raw': its role changes from none to system-boot-image"),
    ([(2, "type", "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7")],
     "volume 'pc', structure 'boot': its type changes from 0FC63DAF-8483-4772-8E79-3D69D8477DE4 to"
     " EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"),
    ([(3, "type", "0FC63DAF-8483-4772-8E79-3D69D8477DE4")],
     "volume 'pc', structure 'raw': its type changes from bare to 0FC63DAF-8483-4772-8E79-3D69D8477DE4"),
    ([(2, "id", "b55f5e3c-3dc9-4d04-b6c6-1f6c1be8cd2f")],
     "volume 'pc', structure 'boot': its id changes from none to b55f5e3c-3dc9-4d04-b6c6-1f6c1be8cd2f"),
    ([(2, "size", "51M"), (2, "min-size", "51M")],
     "volume 'pc', structure 'boot': it shall have 51 MiB, a device may have 20 MiB to 50 MiB"),
    ([(1, "offset", "2M")],
     "volume 'pc', structure 'seed': it shall begin at 2 MiB, on a device it may begin at 1 MiB"),
    ([(4, "offset", "300M")],
     "volume 'pc', structure 'data': it shall begin at 300 MiB, on a device it may begin at 122 MiB to 152 MiB"),
    ([(2, "filesystem", "ext4")], "volume 'pc', structure 'boot': its filesystem changes from vfat-32 to ext4"),
    ([(4, "filesystem", None)], "volume 'pc', structure 'data': it loses its filesystem"),
    ([(3, "filesystem", "ext4"), (3, "content", None)],
     "volume 'pc', structure 'raw': it gets a filesystem, and had none"),
])
def test_change_that_needs_another_disk_is_refused(changes: list[tuple[int, str, object]], reason: str) -> None:
    answer = update(changed(*changes))
    assert reason in answer.refusals
    assert not answer.allowed


@pytest.mark.parametrize(("key", "value", "reason"), [
    ("id", "3dc9bd04-b55c-5e3c-b6c6-1f6c1be8cd2f",
     "volume 'pc': its id changes from none to 3dc9bd04-b55c-5e3c-b6c6-1f6c1be8cd2f"),
    ("bootloader", "u-boot", "volume 'pc': its bootloader changes from grub to u-boot"),
])
def test_change_of_the_volume_is_refused(key: str, value: object, reason: str) -> None:
    assert update(volume_changed(key, value)).refusals == (reason,)


def test_schema_may_become_known_but_not_change() -> None:
    both = BASE.replace("type: C12A", "type: EF,C12A").replace("type: 0FC6", "type: 83,0FC6")
    as_mbr, as_gpt = gadget(both.replace("schema: gpt", "schema: mbr")), gadget(both)
    partial = gadget(both.replace("schema: gpt", "partial: [schema]"))
    assert update(as_mbr, as_gpt).refusals == ("volume 'pc': its schema changes from gpt to mbr",)
    assert update(partial, as_gpt).refusals == ("volume 'pc': its schema changes from gpt to partial",)
    assert update(as_mbr, partial).allowed


def test_hybrid_type_goes_with_either_half_of_it() -> None:
    assert update(changed((1, "type", "EF,C12A7328-F81F-11D2-BA4B-00A0C93EC93B"))).allowed


def test_number_of_structures_is_fixed_and_the_others_are_compared_all_the_same() -> None:
    document = yaml.safe_load(BASE)
    document["volumes"]["pc"]["structure"].append({"name": "more", "type": "bare", "size": "1M"})
    longer = gadget(yaml.safe_dump(document))
    answer = update(longer)
    assert answer.refusals == ("volume 'pc': it has 6 structures, a device has 5",)
    assert answer.volumes[0].structures[5].notes == ("not in the old gadget",)
    assert update(gadget(BASE), longer).volumes[0].structures[5].notes == ("not in the new gadget",)


def test_volumes_stay_and_there_is_one() -> None:
    extra = BASE + "  more: {structure: [{name: x, type: bare, size: 1M}]}\n"
    assert update(gadget(extra)).refusals == (
        "volumes cannot be added: more", "gadgets of several volumes are not updated in place: there are 2")
    assert update(gadget(BASE), gadget(extra)).refusals[0] == "volumes cannot be taken away: more"


def test_names_do_not_count_where_a_table_has_none() -> None:
    both = BASE.replace("type: C12A", "type: EF,C12A").replace("type: 0FC6", "type: 83,0FC6").replace("gpt", "mbr")
    assert update(gadget(both.replace("name: boot", "name: other")), gadget(both)).allowed


def test_size_may_change_within_what_devices_have() -> None:
    answer = update(changed((2, "size", "30M")))
    assert answer.allowed


def test_structure_is_written_only_if_its_edition_rose_boot_before_seed() -> None:
    answer = update(changed((0, "update", {"edition": 3}), (1, "update", {"edition": 2, "preserve": ["grubenv"]}),
                            (2, "update", {"edition": 1}), (4, "update", {"edition": 9})))
    assert [(item.title, item.action, item.written, item.preserved) for _, item in answer.writes] == [
        ("mbr", Action.REWRITE, ("mbr.img",), ()),
        ("boot", Action.REWRITE, ("boot.sel", "$kernel:dtbs/dtbs/"), ()),
        ("seed", Action.REWRITE, ("shim.efi",), ("grubenv",))]
    assert answer.allowed


def test_content_without_a_new_edition_stays_and_is_told() -> None:
    answer = update(changed((0, "content", [{"image": "other.img"}]), (1, "update", {"edition": 0})))
    mbr, seed = answer.volumes[0].structures[:2]
    assert (mbr.action, mbr.notes) == (Action.KEEP, (
        "its content differs, but its edition stays 0: the old content stays",))
    assert seed.notes == ("its edition fell from 1 to 0: the old content stays",)


def test_changed_bytes_without_a_new_edition_are_told() -> None:
    files = {"mbr.img": b"1", "shim.efi": b"2", "boot.sel": b"3", "raw.img": b"4"}
    one = gadget(BASE)
    answer = plan_gadget_update(Side(gadget=one, files=files), Side(gadget=one, files={**files, "raw.img": b"new"}))
    assert [item.title for item in answer.volumes[0].structures if item.notes] == ["raw"]


def test_what_is_written_must_be_there_and_the_rest_need_not() -> None:
    new = Side(gadget=changed((0, "update", {"edition": 1})), files={})
    answer = plan_gadget_update(Side(gadget=gadget(BASE)), new)
    assert answer.refusals == ("volume 'pc', structure 'mbr': the new gadget has no file 'mbr.img'",)


def test_assets_of_a_new_kernel_are_written_without_an_edition() -> None:
    old, new = Side(gadget=gadget(BASE)), Side(gadget=gadget(BASE), kernel=kernel(dtbs__a=1))
    ((_, boot),) = plan_gadget_update(old, new).writes
    assert (boot.title, boot.action, boot.written) == ("boot", Action.ASSETS, ("$kernel:dtbs/dtbs/",))
    assert plan_gadget_update(Side(gadget=gadget(BASE), kernel=kernel(dtbs__a=1)), new).writes == ()


def test_new_kernel_whose_assets_nothing_uses_is_refused() -> None:
    new = Side(gadget=gadget(BASE), kernel=kernel("assets: {fw: {update: true, content: [fw]}}"))
    assert plan_gadget_update(Side(gadget=gadget(BASE)), new).refusals == (
        "the new kernel updates fw, but no content of the new gadget refers to it",)


def test_reference_must_resolve_once_it_is_written() -> None:
    wrong = kernel("assets: {fw: {content: [fw]}}")
    assert plan_gadget_update(Side(gadget=gadget(BASE)), Side(gadget=gadget(BASE), kernel=wrong)).allowed
    rose = Side(gadget=changed((2, "update", {"edition": 1})), kernel=wrong)
    assert plan_gadget_update(Side(gadget=gadget(BASE)), rose).refusals == (
        "volume 'pc', structure 'boot': the kernel has no asset 'dtbs': its kernel.yaml has fw",)


def test_device_of_another_model_of_the_same_board_is_refused_with_every_reason() -> None:
    cards = [path for path in REAL if "pi-gadget" in path.name]
    pi_20, pi_22 = (parse_gadget(load_yaml(path.read_bytes(), name=path.name)) for path in cards)
    answer = update(pi_22, pi_20)
    assert "volume 'pi': its bootloader changes from u-boot to piboot" in answer.refusals
    assert any("it shall have 32 MiB, a device may have 16 MiB" in reason for reason in answer.refusals)
