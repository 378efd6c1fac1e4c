"""The rules of gadget.yaml, each with its id: what is refused, and what is accepted and will hurt.

The parsers beside this module say which rule a problem breaks; docs/reference/gadget-yaml.md explains them,
tests/documents/invalid has a document for each. Source: snapd gadget/gadget.go and gadget/validate.go (facts).
"""

from __future__ import annotations

from imagekit.rules import Rule


class GadgetRules:
    """What gadget.yaml itself is held to. Those of its content's files are `content_check.ContentRules`."""

    # the volumes
    NO_VOLUMES = Rule("gadget-volumes-missing", "a gadget for a model of Ubuntu Core has at least one volume")
    VOLUME_NAME = Rule("gadget-volume-name", "a volume's name has two or more letters, digits and hyphens, no leading"
                       " hyphen")
    VOLUME_EMPTY = Rule("gadget-volume-empty", "a volume is a map, not nothing")
    SCHEMA = Rule("gadget-schema", "schema is gpt, mbr or emmc")
    PARTIAL = Rule("gadget-partial", "partial lists size, filesystem, schema, structure, each at most once")
    PARTIAL_SCHEMA = Rule("gadget-partial-schema", "with partial schema the volume has no schema")
    BOOTLOADER = Rule("gadget-bootloader", "bootloader is grub, u-boot, android-boot, lk or piboot")
    NO_BOOTLOADER = Rule("gadget-bootloader-missing", "one of the volumes has a bootloader")
    BOOTLOADERS = Rule("gadget-bootloader-twice", "at most one of the volumes has a bootloader")
    PIBOOT = Rule("gadget-bootloader-piboot", "piboot is for UC20 and later")
    EMMC_VOLUME = Rule("gadget-emmc-volume", "a volume of schema emmc has no bootloader, id or partial")
    EMMC_NAME = Rule("gadget-emmc-name", "a structure of schema emmc is called boot0 or boot1")
    EMMC_KEYS = Rule("gadget-emmc-keys", "a structure of schema emmc has name, content and update only")
    EMMC_CONTENT = Rule("gadget-emmc-content", "content of schema emmc is an image without offset and size")

    # a structure
    NAME_TWICE = Rule("gadget-name-repeated", "a structure's name is used once in its volume")
    NO_TYPE = Rule("gadget-type-missing", "a structure has a type")
    TYPE = Rule("gadget-type", "type is bare, mbr, two upper-case hexadecimal digits, a GUID, or both as XX,GUID")
    TYPE_SCHEMA = Rule("gadget-type-schema", "a type of two digits is for schema mbr, a GUID for gpt, both together for"
                       " any, and alone for partial schema")
    ROLE = Rule("gadget-role", "role is one of the format's")
    ROLE_BARE = Rule("gadget-role-bare", "a bare structure has no role, or the role mbr")
    ROLE_TYPE_MBR = Rule("gadget-role-type-mbr", "a structure of type mbr has no role, or the role mbr")
    NO_SIZE = Rule("gadget-size-missing", "a structure has a size above 0, unless its volume has partial size")
    MIN_SIZE = Rule("gadget-min-size", "min-size is at most size")
    ID = Rule("gadget-id", "the id of a partition in a GPT is a GUID")
    FILESYSTEM = Rule("gadget-filesystem", "filesystem is ext4, vfat, vfat-16, vfat-32 or none")
    LABEL_TWICE = Rule("gadget-label-repeated", "a filesystem label is used once in its volume, without regard to case"
                       " where one is of a FAT")
    OVERLAP = Rule("gadget-overlap", "two structures share no byte")
    MBR_SIZE = Rule("gadget-mbr-size", "the role mbr has at most 446 bytes")
    MBR_OFFSET = Rule("gadget-mbr-offset", "the role mbr lies at offset 0")
    MBR_ID = Rule("gadget-mbr-id", "the role mbr has no id")
    MBR_FILESYSTEM = Rule("gadget-mbr-filesystem", "the role mbr has no filesystem")
    BOOT_STATE = Rule("gadget-boot-state", "the role system-boot-state has an explicit offset of at least 1 MiB, a"
                      " fixed size, no filesystem and its own type")
    WRITE_FORM = Rule("gadget-offset-write", "offset-write is [name+]offset, at most 4 GiB")
    WRITE_FIRST = Rule("gadget-offset-write-first", "a name in offset-write is that of the first structure, which lies"
                       " at 0")
    WRITE_FIT = Rule("gadget-offset-write-fit", "the 4 bytes of offset-write lie inside of what it names, or of the"
                     " volume")

    # content
    CONTENT_KIND = Rule("gadget-content-kind", "content is source and target with a filesystem, image, offset and size"
                        " without one")
    NO_IMAGE = Rule("gadget-content-image-missing", "content without a filesystem has an image")
    NO_SOURCE = Rule("gadget-content-source-missing", "content of a filesystem has a source and a target")
    PATH = Rule("gadget-content-path", "a path of content has no .. and no zero byte")
    EDITION = Rule("gadget-edition", "edition is an unsigned integer of 32 bits")
    PRESERVE_RAW = Rule("gadget-preserve-raw", "preserve is for structures with a filesystem")
    PRESERVE_TWICE = Rule("gadget-preserve-repeated", "preserve names a path once")

    # roles, over all volumes
    ROLE_TWICE = Rule("gadget-role-repeated", "each of system-seed, -seed-null, -boot, -data, -save, -boot-state stands"
                      " once at most, over all volumes")
    SEEDS = Rule("gadget-role-seeds", "system-seed and system-seed-null exclude each other")
    NO_ROLE = Rule("gadget-role-missing", "UC20 and later: seed and data are there; classic with modes: boot and data")
    ROLE_ERA = Rule("gadget-role-era", "UC16/18: no seed and no save")
    ROLE_VOLUME = Rule("gadget-role-volume", "boot, data and save lie on the seed's volume; classic with modes: seed"
                       " and save on boot's")
    ROLE_LABEL = Rule("gadget-role-label", "an explicit label of a role is the role's own")
    RESERVED = Rule("gadget-label-reserved", "the labels of roles are not taken by structures without a role")

    # beside the volumes
    DEFAULTS_KEY = Rule("gadget-defaults-key", "defaults are by system or a snap id of 32 letters and digits")
    DEFAULTS_VALUE = Rule("gadget-defaults-value", "a default is a string, number, boolean, list or map with strings"
                          " for keys; never nothing")
    NO_PLUG = Rule("gadget-connection-plug", "a connection has a plug")
    CONNECTION = Rule("gadget-connection", "plug and slot are <snap-id or system>:<name>")
    ARGUMENT = Rule("gadget-cmdline-argument", "an item of kernel-cmdline is one kernel argument")
    FORBIDDEN = Rule("gadget-cmdline-forbidden", "append sets no root, nfsroot, init or snapd argument but"
                     " snapd_system_disk and snapd.debug")
    PATTERN = Rule("gadget-cmdline-pattern", "a value in allow and remove is *, or has none of *?[]\\{} unless quoted")
    NO_ASSIGNMENT = Rule("gadget-assignment-missing", "a volume-assignment assigns at least one volume")
    ASSIGNED = Rule("gadget-assignment-volume", "a volume-assignment names volumes that exist")
    DEVICE = Rule("gadget-assignment-device", "an assigned device lies below /dev/disk/by-path or /dev/disk/by-id")
    ASSIGNED_TWICE = Rule("gadget-assignment-repeated", "no two volume-assignments are the same")

    # our own key
    OWN_KEY = Rule("gadget-own-key", "x-imagekit has no unknown keys")
    OWN_BOOTLOADER = Rule("gadget-own-bootloader", "x-imagekit names a bootloader backend")
    OWN_CMDLINE = Rule("gadget-own-cmdline", "the cmdline of x-imagekit is printable ASCII and sets nothing of"
                       " imagekit's own")
    OWN_DEVICE_TREE = Rule("gadget-own-device-tree", "the device-tree of x-imagekit is a path of the kernel package,"
                           " for u-boot")
    OWN_ENTRIES = Rule("gadget-own-entries", "gpt-entries of x-imagekit is 4 to 128, for a bootloader's volume with a"
                       " GPT")
    OWN_ENTRIES_AT = Rule("gadget-own-entries-at", "gpt-entries-at of x-imagekit is a multiple of 512 from 1024 to 1"
                          " MiB, for a bootloader's volume with a GPT")
    OWN_ADDRESSES = Rule("gadget-own-addresses", "addresses of x-imagekit are where u-boot's script loads kernel,"
                         " initrd and device-tree, unpacks, and has its scratch")
    OWN_HYBRID = Rule("gadget-own-hybrid", "hybrid-mbr of x-imagekit names one to three partitions of a bootloader's"
                      " volume with a GPT, each with a type for both tables")
    OWN_SLOT_FILES = Rule("gadget-own-slot-files", "slot-files of x-imagekit are paths of files in the gadget, of"
                          " different names, for piboot")
    OWN_PART = Rule("gadget-own-part", "a structure of x-imagekit has a part, and a slot unless it is the state")
    OWN_STRUCTURE = Rule("gadget-own-structure", "x-imagekit names structures that exist, each part of a slot once")
    OWN_SLOTS = Rule("gadget-own-slots", "x-imagekit has a state, and base and kernel in both slots")
    OWN_SIZE = Rule("gadget-own-size", "the two structures of a part have one size")


class GadgetWarnings:
    """What the field accepts in gadget.yaml and somebody will regret."""

    TABLE = Rule("gadget-over-table", "no structure lies over the partition table", warning=True)
    TABLE_MAYBE = Rule("gadget-over-table-maybe", "no structure lies where the table is with other sectors",
                       warning=True)
    ALIGNMENT = Rule("gadget-alignment", "partitions begin at a multiple of 1 MiB and have whole sectors of 4096 bytes",
                     warning=True)
    LEGACY_ROLE = Rule("gadget-legacy-role", "the roles bootimg and bootselect have newer names", warning=True)
    LEGACY_MBR = Rule("gadget-legacy-mbr", "type mbr has a newer spelling: type bare, role mbr", warning=True)
    TYPO = Rule("gadget-key-typo", "no unknown key is nearly a known one", warning=True)
    UNREAD = Rule("gadget-key-unread", "no key stands there that the field documents, or wrote once, and never reads",
                  warning=True)
    GPT_NAME = Rule("gadget-gpt-name", "the name of a GPT partition has at most 36 characters", warning=True)
    PRIMARIES = Rule("gadget-mbr-partitions", "a volume of schema mbr has at most four partitions", warning=True)
    LABEL_LENGTH = Rule("gadget-label-length", "a label has at most 11 characters on a FAT, 16 on ext4", warning=True)
    LABEL_MISSING = Rule("gadget-label-missing", "a filesystem has a label by which it can be found", warning=True)
    BOOT_LABEL = Rule("gadget-boot-label", "system-boot has the label that the system looks for", warning=True)
    NO_BOOT = Rule("gadget-boot-missing", "a gadget for UC20 and later has a structure to boot from", warning=True)
    NO_SAVE = Rule("gadget-save-missing", "a gadget for UC20 and later has a place for the keys of encrypted storage",
                   warning=True)
    SMALL = Rule("gadget-too-small", "system-data has at least 256 MiB, system-save 16 MiB", warning=True)
    EMMC_SIZE = Rule("gadget-emmc-size", "a structure of schema emmc has no size: the hardware has", warning=True)
    NO_STRUCTURES = Rule("gadget-volume-without-structures", "a volume has structures", warning=True)
    DISK_ID = Rule("gadget-disk-id", "the id of a volume is a GUID, or eight hexadecimal digits for an MBR",
                   warning=True)
    ID_UNUSED = Rule("gadget-id-unused", "only a partition in a GPT has an id", warning=True)
    SEED_NULL = Rule("gadget-seed-null-era", "system-seed-null is for classic systems with modes", warning=True)
