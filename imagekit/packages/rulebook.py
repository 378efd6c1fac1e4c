"""The rules of the documents inside packages, each with its id."""

from __future__ import annotations

from imagekit.rules import Rule


class KernelRules:
    """What a kernel's `meta/kernel.yaml` is held to (docs/reference/kernel-yaml.md)."""

    MODULES = Rule("kernel-dynamic-modules", "dynamic-modules is $SNAP_DATA or ${SNAP_DATA}")
    ASSET_NAME = Rule("kernel-asset-name", "an asset's name has letters, digits and hyphens, no leading hyphen")
    ASSET_EMPTY = Rule("kernel-asset-empty", "an asset is a map with update or content")
    CONTENT_PATH = Rule("kernel-content-path", "a path of an asset is one that a gadget can refer to (warning)")
