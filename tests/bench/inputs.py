"""What floor.sh and genimage are given, from a built image's manifest: the same content at the same places."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagekit.disk.fat_read import read_fat
from imagekit.disk.verity import salt_for, uuid_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Paths of what was written: the shell variables for floor.sh, and genimage's configuration with its folders."""

    variables: Path
    genimage_config: Path
    genimage_prepare: Path
    genimage_input: Path
    folders_config: Path
    folders: Path


def write_inputs(manifest_path: Path, packages: Path, folder: Path) -> Inputs:
    """Lay everything out below `folder`; `packages` holds the .snap and .snap.zst files."""
    manifest = json.loads(manifest_path.read_text())
    structures = {one["name"]: one for one in manifest["structures"]}
    slots = {one["type"]: one for one in manifest["packages"]}
    image = manifest_path.parent / manifest["image"]["file"]
    esp, seed = (_fat_files(image, structures[name], folder) for name in ("esp", "seed"))
    trees = [(packages / _file(slots[part]), structures[f"{part}-a"]["start"], slots[part]["sha3-384"])
             for part in ("base", "kernel")]
    variables = _floor(manifest, structures, packages, esp, seed, trees, folder)
    config, prepare = _genimage(manifest, structures, esp, seed, trees, folder)
    empty = folder / "input"
    empty.mkdir()
    for part in ("base", "kernel"):
        subprocess.run(["fsck.erofs", f"--extract={folder / part}-a", packages / _file(slots[part])], check=True,
                       stdout=subprocess.DEVNULL)
    folders_config = _genimage_from_folders(structures, trees, folder)
    return Inputs(variables=variables, genimage_config=config, genimage_prepare=prepare, genimage_input=empty,
                  folders_config=folders_config, folders=folder)


def _file(package: dict[str, Any]) -> str:
    return f"{package['name']}_{package['revision']}.snap"


def _fat_files(image: Path, structure: dict[str, Any], folder: Path) -> list[tuple[Path, str]]:
    """The files of a FAT volume of the image, taken out once, before anything is measured."""
    files = []
    with image.open("rb") as stream:
        volume = read_fat(stream, structure["start"])
        for entry in volume.walk():
            out = folder / structure["name"] / entry.path
            if entry.is_dir:
                out.mkdir(parents=True, exist_ok=True)
                continue
            out.parent.mkdir(parents=True, exist_ok=True)
            with volume.open(entry.path) as source, out.open("wb") as target:
                shutil.copyfileobj(source, target)
            files.append((out, entry.path))
    return files


def _floor(manifest: dict[str, Any], structures: dict[str, Any], packages: Path, esp: list[tuple[Path, str]],
           seed: list[tuple[Path, str]], trees: list[tuple[Path, int, str]], folder: Path) -> Path:
    table = ["label: gpt", f"label-id: {manifest['image']['disk-guid']}"]
    table += [f'start={one["start"] // 512}, size={one["size"] // 512}, type={one["type"]}, uuid={one["guid"]},'
              f' name="{one["name"]}"' for one in structures.values() if one["partition"] is not None]
    lists = {
        "SFDISK_SCRIPT": table,
        "DIGESTS": [f"{one['sha3-384']} {packages / _file(one)}" for one in manifest["packages"]],
        "ESP_FILES": [f"{path} {name}" for path, name in esp],
        "SEED_FILES": [f"{path} {name}" for path, name in seed],
        "SLOT_PACKAGES": [f"{path} {start} {salt_for(sha3).hex()} {uuid_for(sha3)}" for path, start, sha3 in trees],
    }
    lines = [f"DISK_SIZE={manifest['image']['size']}"]
    for name in ("esp", "seed", "data"):
        lines += [f"{name.upper()}_{what.upper()}={structures[name][what]}" for what in ("start", "size")]
    for name, files in (("ESP_FOLDERS", esp), ("SEED_FOLDERS", seed)):
        folders = sorted({str(above) for _, path in files for above in Path(path).parents if str(above) != "."})
        lines.append(f"{name}='{' '.join(f'::{one}' for one in folders)}'")
    for name, content in lists.items():
        path = folder / name.lower()
        path.write_text("\n".join(content) + "\n")
        lines.append(f"{name}={path}")
    variables = folder / "plan.sh"
    variables.write_text("\n".join(lines) + "\n")
    return variables


def _genimage(manifest: dict[str, Any], structures: dict[str, Any], esp: list[tuple[Path, str]],
              seed: list[tuple[Path, str]], trees: list[tuple[Path, int, str]], folder: Path) -> tuple[Path, Path]:
    """genimage has no verity of its own: the script that makes its slot files is charged to it."""
    prepare = ["#!/bin/sh", "set -eu", "scratch=$1"]
    for package, start, sha3 in trees:
        name = next(one["name"] for one in structures.values() if one["start"] == start)
        prepare += [f"veritysetup format --salt={salt_for(sha3).hex()} --uuid={uuid_for(sha3)} {package}"
                    f' "$scratch/{name}.tree" > /dev/null', f'cat {package} "$scratch/{name}.tree" > "$scratch/{name}"']
    config = []
    for name, files in (("esp", esp), ("seed", seed)):
        content = "".join(f' file "{target}" {{ image = "{path}" }}\n' for path, target in files)
        config.append(f'image {name}.vfat {{\n vfat {{\n  extraargs = "-F 32 -s 4"\n{content} }}\n'
                      f" size = {structures[name]['size']}\n}}\n")
    config.append(f'image data.ext4 {{\n ext4 {{ use-mke2fs = true }}\n empty = true\n'
                  f" size = {structures['data']['size']}\n}}\n")
    config.append(_disk(structures, {"esp": "esp.vfat", "seed": "seed.vfat", "data": "data.ext4",
                                     "base-a": "@SCRATCH@/base-a", "kernel-a": "@SCRATCH@/kernel-a"}))
    prepare_path, config_path = folder / "prepare.sh", folder / "genimage.cfg.in"
    prepare_path.write_text("\n".join(prepare) + "\n")
    config_path.write_text("\n".join(config))
    return config_path, prepare_path


def _genimage_from_folders(structures: dict[str, Any], trees: list[tuple[Path, int, str]], folder: Path) -> Path:
    """genimage as its users know it: the content lies in folders, and every file system is made from them.

    It knows neither EROFS nor dm-verity, but runs the program that it is told in place of mksquashfs.
    """
    maker = ["#!/bin/sh", "set -eu", 'size() { stat -c %s "$1"; }', 'case "$2" in']
    for _, start, sha3 in trees:
        name = next(one["name"] for one in structures.values() if one["start"] == start)
        maker += [f'*/{name}.fs) salt={salt_for(sha3).hex()} uuid={uuid_for(sha3)} ;;']
    maker += ["esac", 'mkfs.erofs -T 0 -U "$uuid" "$2" "$1" > /dev/null',
              'veritysetup format --salt="$salt" --uuid="$uuid" --hash-offset="$(size "$2")"'
              ' --data-blocks="$(($(size "$2") / 4096))" "$2" "$2" > /dev/null']
    (folder / "make-slot.sh").write_text("\n".join(maker) + "\n")
    (folder / "make-slot.sh").chmod(0o755)
    kinds = {"esp": 'vfat { extraargs = "-F 32 -s 4" }', "seed": 'vfat { extraargs = "-F 32 -s 4" }',
             "base-a": "squashfs {}", "kernel-a": "squashfs {}"}
    config = [f"config {{\n mksquashfs = {folder / 'make-slot.sh'}\n}}\n"]
    config += [f'image {name}.fs {{\n mountpoint = "/{name}"\n {kind}\n size = {structures[name]["size"]}\n}}\n'
               for name, kind in kinds.items()]
    config.append(f"image data.fs {{\n ext4 {{ use-mke2fs = true }}\n empty = true\n"
                  f" size = {structures['data']['size']}\n}}\n")
    config.append(_disk(structures, {name: f"{name}.fs" for name in (*kinds, "data")}))
    path = folder / "genimage-folders.cfg"
    path.write_text("\n".join(config))
    return path


def _disk(structures: dict[str, Any], sources: dict[str, str]) -> str:
    parts = ""
    for one in structures.values():
        image = f'image = "{sources[one["name"]]}"' if one["name"] in sources else ""
        parts += (f' partition {one["name"]} {{ {image}\n  offset = {one["start"]}\n  size = {one["size"]}\n'
                  f'  partition-type-uuid = {one["type"]}\n }}\n')
    return "image disk.img {\n hdimage { partition-table-type = gpt }\n" + parts + "}\n"
