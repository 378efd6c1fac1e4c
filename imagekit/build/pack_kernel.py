"""Kernel packages: the kernel in the form that its loader takes, and the modules that belong to it.

Decides the content of a package of type `kernel`. For UEFI that is `kernel.efi` (vmlinuz, initrd, `.osrel`, `.uname`,
and no command line: root hashes and options come from the slot's loader entry); for U-Boot and the Raspberry Pi's
firmware `Image` or `zImage`, `initrd` and `dtbs/`. Then `modules/<uname>/` with every module decompressed, or an update
of a few of them could not be small, and `firmware/`. The initrd is `imagekit.build.initrd`'s. A recipe with a list of
modules gets those, by name or by path under `kernel/`, and all that they need. Sources: Linux
Documentation/arch/arm64/booting.rst (the header of `Image`), Documentation/arch/arm/booting.rst; Devicetree
Specification 5.2 (header).
"""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import zstandard

from imagekit.boot.uboot import COMPRESSED
from imagekit.build import initrd
from imagekit.build.tree import Tree, file, folder
from imagekit.errors import DocumentError, PlanError
from imagekit.host.ports import Tools
from imagekit.packages.kernelyaml import KERNEL_YAML, encode_kernel_yaml
from imagekit.packages.recipe import APART, Recipe
from imagekit.packages.uki import decode_uki

STUBS = {"amd64": "usr/lib/systemd/boot/efi/linuxx64.efi.stub", "arm64": "usr/lib/systemd/boot/efi/linuxaa64.efi.stub"}
# What U-Boot's booti and bootz take: its name, and what tells it at which offset.
IMAGES = {"arm64": ("Image", 0x38, b"ARM\x64"), "armhf": ("zImage", 0x24, b"\x18\x28\x6f\x01")}
DEVICE_TREE = b"\xd0\x0d\xfe\xed"
KEPT = ("modules.order", "modules.builtin", "modules.builtin.modinfo")


def kernel_tree(recipe: Recipe, *, version: str, root: Path, boot_root: Path, scratch: Path, tools: Tools) -> Tree:
    """The content of the package from its unpacked parts: `root` the kernel's, `boot_root` those of the initrd."""
    release, image = _find_kernel(recipe, root)
    source = root / "usr/lib/modules" / release
    target = scratch / "modules-root" / "usr/lib/modules" / release
    _decompress(source, target)
    _depmod(tools, scratch, release)
    builtin = (target / "modules.builtin").read_text().split()
    if recipe.modules is not None:
        _reduce(recipe, target, builtin)
        _depmod(tools, scratch, release)
    dependencies = initrd.parse_dependencies((target / "modules.dep").read_text())
    listed = initrd.HERE / "modules.txt"
    groups = initrd.replace_groups(initrd.parse_module_list(listed.read_text(), name=str(listed)), recipe.initrd,
                                   name=recipe.name)
    plan = initrd.plan_loading(groups, dependencies, builtin)
    ramdisk = initrd.encode_initrd(boot_root, target, plan, init=(initrd.HERE / "init").read_bytes())
    tree = Tree([folder("firmware")])
    if recipe.image == APART:
        add_apart(tree, recipe, image, ramdisk, root / "usr/lib" / f"linux-image-{release}")
    else:
        tree.add(file("kernel.efi", _uki(recipe, version, release, image, ramdisk, boot_root, scratch, tools)))
    for path in sorted(target.rglob("*")):
        if path.is_file():
            tree.add(file(f"modules/{release}/{path.relative_to(target)}", path))
    if recipe.assets:
        tree.add(file(KERNEL_YAML, kernel_yaml(recipe, tree)))
    return tree


def kernel_yaml(recipe: Recipe, tree: Tree) -> bytes:
    """What the package offers to gadgets. Raises: PlanError: it is not in the package."""
    paths = tree.paths()
    for asset in recipe.assets:
        for wanted in asset.content:
            if not any(path == wanted or path.startswith(wanted.rstrip("/") + "/") for path in paths):
                raise PlanError(f"cannot pack {recipe.name}: its asset {asset.name} has {wanted}, the package has not")
    return encode_kernel_yaml(recipe.assets)


def _find_kernel(recipe: Recipe, root: Path) -> tuple[str, Path]:
    images = sorted((root / "boot").glob("vmlinuz-*")) if (root / "boot").is_dir() else []
    if len(images) != 1:
        raise PlanError(f"cannot pack {recipe.name}: its parts hold {len(images)} kernels, one is needed")
    release = images[0].name.removeprefix("vmlinuz-")
    if not (root / "usr/lib/modules" / release).is_dir():
        raise PlanError(f"cannot pack {recipe.name}: its parts have no modules for {release}")
    return release, images[0]


def add_apart(tree: Tree, recipe: Recipe, image: Path, ramdisk: bytes, device_trees: Path) -> None:
    """The kernel, its initrd and the device trees that the recipe names, as files of their own.

    Raises:
        PlanError: the kernel is not of the form that the loader takes, or there is no such device tree.
    """
    name, offset, magic = IMAGES[recipe.architecture]
    content = image.read_bytes()
    if content[offset:offset + len(magic)] != magic:
        raise PlanError(f"cannot pack {recipe.name}: its kernel is no {name} of {recipe.architecture}")
    tree.add(file(name, content))
    if recipe.compress is not None:
        tree.add(file(COMPRESSED, gzip.compress(content, mtime=0)))
    tree.add(file("initrd", ramdisk))
    known = {str(path.relative_to(device_trees)): path for path in sorted(device_trees.rglob("*.dtb"))}
    for pattern in recipe.device_trees:
        hits = [path for path in known if names_path(pattern, path)]
        if not hits:
            raise PlanError(f"cannot pack {recipe.name}: the kernel has no device tree {pattern}")
        for path in hits:
            if known[path].read_bytes()[:4] != DEVICE_TREE:
                raise PlanError(f"cannot pack {recipe.name}: {path} is no device tree")
            tree.add(file(f"dtbs/{path}", known[path]))


def _decompress(source: Path, target: Path) -> None:
    """Every module of `source` without its compression, and the lists that depmod reads."""
    for path in sorted(source.rglob("*")):
        name = str(path.relative_to(source))
        if not path.is_file() or not (name in KEPT or ".ko" in path.name):
            continue
        content = path.read_bytes()
        try:
            if name.endswith(".xz"):
                content = lzma.decompress(content)
            elif name.endswith(".zst"):
                content = zstandard.ZstdDecompressor().decompressobj().decompress(content)
        except (lzma.LZMAError, zstandard.ZstdError) as error:
            raise DocumentError(f"cannot unpack module {name}: {error}") from error
        out = target / name.removesuffix(".xz").removesuffix(".zst")
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(content)


def _depmod(tools: Tools, scratch: Path, release: str) -> None:
    """Write the modules' index files anew, by nothing but the modules (no configuration of the host's)."""
    base, empty = scratch / "modules-root", scratch / "no-configuration"
    empty.mkdir(exist_ok=True)
    if not (base / "lib").exists():
        (base / "lib").symlink_to("usr/lib")
    tools.run("depmod", "-b", base, "-C", empty, release)


def _reduce(recipe: Recipe, target: Path, builtin: Sequence[str]) -> None:
    """Delete the modules that the recipe does not name and that no named one needs."""
    assert recipe.modules is not None
    dependencies = initrd.parse_dependencies((target / "modules.dep").read_text())
    keep: set[str] = set()
    unused = []
    for pattern in recipe.modules:
        hits = [path for path in dependencies if names_module(pattern, path)]
        if not hits and not any(names_module(pattern, path) for path in builtin):
            unused.append(pattern)
        for path in hits:
            keep |= {path, *dependencies[path]}
    if unused:
        raise PlanError(f"cannot pack {recipe.name}: the kernel has no module {unused[0]}",
                        details=tuple(unused[1:]))
    for path in dependencies:
        if path not in keep:
            (target / path).unlink()


def names_module(pattern: str, path: str) -> bool:
    """Whether a recipe's `pattern` means the module at `path`: a name, a path below `kernel/`, or a folder there.

    `*` stays within a name; a folder ends with a slash and means everything below it.
    """
    inside = path.removeprefix("kernel/")
    if pattern.endswith("/"):
        return inside.startswith(pattern)
    if "/" not in pattern:
        return fnmatchcase(initrd.module_name(path), initrd.normal(pattern))
    return names_path(pattern, inside)


def names_path(pattern: str, path: str) -> bool:
    """Whether `path` is as long as `pattern` and each name in it fits."""
    wanted, parts = pattern.split("/"), path.split("/")
    return len(wanted) == len(parts) and all(map(fnmatchcase, parts, wanted))


def _uki(recipe: Recipe, version: str, release: str, image: Path, ramdisk: bytes, boot_root: Path, scratch: Path,
         tools: Tools) -> bytes:
    """Put the unified kernel image together with the locked ukify, then read it back."""
    ramdisk_file, out, osrel = scratch / "initrd", scratch / "kernel.efi", scratch / "osrel"
    ramdisk_file.write_bytes(ramdisk)
    osrel.write_text(f'ID=imagekit\nNAME="imagekit"\nPRETTY_NAME="{recipe.name} {version}"\nVERSION_ID="{version}"\n')
    tools.run("ukify", "build", "--linux", image, "--initrd", ramdisk_file, "--os-release", f"@{osrel}",
              "--uname", release, "--stub", boot_root / STUBS[recipe.architecture], "--output", out)
    content = out.read_bytes()
    uki = decode_uki(content, name="kernel.efi")
    if uki.section(".initrd") != ramdisk or uki.section(".linux") != image.read_bytes() or ".cmdline" in uki.names:
        raise PlanError(f"cannot pack {recipe.name}: ukify made another kernel image than it was asked for")
    return content
