"""Parse what a structure holds: files of a file system or raw images, and what an update does with them.

Whether the files exist and fit, and what a reference to the kernel means, is for `imagekit.gadget.content_check`.
"""

from __future__ import annotations

import re

from imagekit.gadget.rulebook import GadgetRules as Rules
from imagekit.gadget.values import Content, FileContent, RawContent, Update
from imagekit.nodes import Node, shown
from imagekit.packages.kernelyaml import is_reference

_EDITION = re.compile(r"[0-9]{1,20}\Z")
_IMAGE_KEYS = ("image", "offset", "size")
_FILE_KEYS = ("source", "target")


def parse_contents(node: Node, *, has_filesystem: bool) -> tuple[Content, ...]:
    """Files for a file system, or images for a raw structure; never both."""
    result: list[Content] = []
    for item in node.nodes("content"):
        if not item.readable:
            continue
        wrong = [key for key in (_IMAGE_KEYS if has_filesystem else _FILE_KEYS) if _given(item, key)]
        if wrong and has_filesystem:
            item.problem(wrong[0], f"{wrong[0]} is for structures without a filesystem: this one has one, its content"
                         " has source and target", Rules.CONTENT_KIND)
        elif wrong:
            item.problem(wrong[0], f"{wrong[0]} is for structures with a filesystem: this one has none, its content has"
                         " image, and offset and size where needed", Rules.CONTENT_KIND)
        elif has_filesystem:
            result.append(parse_file(item))
        else:
            result.append(parse_image(item))
    return tuple(result)


def _given(item: Node, key: str) -> bool:
    """Whether a key says anything; a size of 0 and an empty text do not."""
    if key == "offset":
        return key in item
    if key == "size":
        return bool(item.size(key))
    return bool(item.text(key))


def parse_image(node: Node) -> RawContent:
    """`image`, and where in the structure it lies."""
    image = node.text("image")
    if not image:
        node.problem("image", "an image is needed: a file of the gadget", Rules.NO_IMAGE)
    check_path(node, "image", image)
    return RawContent(image=image, offset=node.size("offset"), size=node.size("size") or None,
                      unpack=node.boolean("unpack"))


def parse_emmc_contents(node: Node) -> tuple[RawContent, ...]:
    """Images for a boot area of an eMMC, which lie at its start."""
    result: list[RawContent] = []
    for item in node.nodes("content"):
        if not item.readable:
            continue
        wrong = [key for key in ("offset", "size", *_FILE_KEYS) if _given(item, key)]
        if wrong:
            item.problem(wrong[0], f"{wrong[0]} has no meaning in a boot area of an eMMC: give an image alone",
                         Rules.EMMC_CONTENT)
        else:
            result.append(parse_image(item))
    return tuple(result)


def parse_file(node: Node) -> FileContent:
    """`source` and `target`; both stay inside what they belong to."""
    source, target = node.text("source"), node.text("target")
    for key, text in (("source", source), ("target", target)):
        if not text:
            node.problem(key, f"a {key} is needed beside the {'target' if key == 'source' else 'source'}",
                         Rules.NO_SOURCE)
        elif not (key == "source" and is_reference(text)):
            check_path(node, key, text)
    return FileContent(source=source, target=target, unpack=node.boolean("unpack"))


def check_path(node: Node, key: str, text: str) -> None:
    """A path stays in its folder."""
    if ".." in text.split("/"):
        node.problem(key, f"{shown(text)} leaves its folder: no .. is allowed", Rules.PATH)
    elif "\0" in text:
        node.problem(key, f"{shown(text)} has a zero byte, which no path has", Rules.PATH)


def parse_update(node: Node, *, has_filesystem: bool) -> Update:
    """The edition and the files that a refresh leaves alone."""
    inner = node.map("update")
    edition = 0
    if "edition" in inner:
        text = inner.text("edition")
        if _EDITION.match(text) and int(text) < 1 << 32:
            edition = int(text)
        elif text or inner.raw("edition") == "":
            inner.problem("edition", f"{shown(text)} is not an edition: an integer from 0 to 4294967295 is allowed",
                          Rules.EDITION)
    preserve = inner.texts("preserve")
    if preserve and not has_filesystem:
        inner.problem("preserve", "only a structure with a filesystem preserves files", Rules.PRESERVE_RAW)
    seen: set[str] = set()
    for index, path in enumerate(preserve):
        if path in seen:
            inner.problems.add((*inner.path, "preserve", index), f"{shown(path)} is given twice", Rules.PRESERVE_TWICE)
        seen.add(path)
    return Update(edition=edition, preserve=preserve)
