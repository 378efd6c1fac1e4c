"""The rules of the documents inside packages, each with its id.

Source of those for snap.yaml: snapd `snap/info_snap_yaml.go`, `snap/validate.go`, `snap/epoch.go`,
`snap/naming/validate.go`, `timeutil/schedule.go`, `spdx/`; where they differ on purpose is in
docs/reference/snap-yaml.md.
"""

from __future__ import annotations

from imagekit.rules import Rule


class KernelRules:
    """What a kernel's `meta/kernel.yaml` is held to (docs/reference/kernel-yaml.md)."""

    MODULES = Rule("kernel-dynamic-modules", "dynamic-modules is $SNAP_DATA or ${SNAP_DATA}")
    ASSET_NAME = Rule("kernel-asset-name", "an asset's name has letters, digits and hyphens, no leading hyphen")
    ASSET_EMPTY = Rule("kernel-asset-empty", "an asset is a map with update or content")
    CONTENT_PATH = Rule("kernel-content-path", "a path of an asset is one that a gadget can refer to (warning)")


class SnapRules:
    """What a `meta/snap.yaml` is held to."""

    # what the package is
    NAME = Rule("snap-name", "a name has 2 to 40 of a-z, 0-9 and single inner hyphens, at least one of them a letter")
    VERSION = Rule("snap-version", "a version has 1 to 32 letters, digits and : . + ~ -, begins with a letter or digit"
                   " and ends with one of these or + or ~")
    TYPE = Rule("snap-type", "the type is app, base, gadget, kernel, os or snapd")
    ARCHITECTURES = Rule("snap-architectures", "architectures is a list of names; build-on and run-on belong to the"
                         " recipe")
    TITLE = Rule("snap-title", "a title has at most 40 characters")
    SUMMARY = Rule("snap-summary", "a summary has at most 128 characters", warning=True)
    DESCRIPTION = Rule("snap-description", "a description has at most 4096 characters")
    PROVENANCE = Rule("snap-provenance", "a provenance is letters and digits with single inner hyphens, and not the"
                      " default global-upload")
    LICENSE = Rule("snap-license", "a license is an SPDX expression of ids of list 3.11, or Proprietary")
    BASE_NAME = Rule("snap-base-name", "a base is the name of a package, or none")
    BASE_OF_BASE = Rule("snap-base-of-base", "a package of type base or os stands on no base")
    BASE_NONE = Rule("snap-base-none", "a package with base none has no apps and no hooks")
    CONFINEMENT = Rule("snap-confinement", "the confinement is strict, classic or devmode")
    GRADE = Rule("snap-grade", "the grade is stable or devel", warning=True)
    KEY = Rule("snap-key", "a key that nobody reads is not nearly one that is read", warning=True)

    EPOCH = Rule("snap-epoch", "an epoch is a number, a number with *, or a map with lists of numbers read and write")
    EPOCH_NUMBER = Rule("snap-epoch-number", "the number of an epoch is below 2^32 and has no leading zero")
    EPOCH_ZERO = Rule("snap-epoch-zero", "epoch 0 follows no other: there is no 0*")
    EPOCH_LIST = Rule("snap-epoch-list", "a list of epochs has 1 to 10 numbers, each above the one before")
    EPOCH_COMMON = Rule("snap-epoch-common", "read and write have an epoch in common")

    # plugs and slots
    INTERFACE_NAME = Rule("snap-interface-name", "a plug, a slot and an interface are named by a-z, 0-9 and single"
                          " inner hyphens, a letter first")
    PLUG_FORM = Rule("snap-plug-form", "a plug or slot is nothing, the name of its interface, or a map of attributes")
    PLUG_TEXT = Rule("snap-plug-text", "interface and label of a plug or slot are strings")
    PLUG_AND_SLOT = Rule("snap-plug-and-slot", "no plug has the name of a slot")
    ATTRIBUTE_NAME = Rule("snap-attribute-name", "an attribute is named by a string that is not empty and does not"
                          " begin with $")
    ATTRIBUTE_VALUE = Rule("snap-attribute-value", "an attribute is a string, number, boolean, or a list or map of"
                           " these")

    # apps
    APP_NAME = Rule("snap-app-name", "an app is named by letters, digits and single inner hyphens")
    COMMAND = Rule("snap-command", "a command is letters, digits, spaces and / . _ # : $ -")
    COMMAND_CHAIN = Rule("snap-command-chain", "an entry of a command chain is letters, digits and / . _ # : $ -")
    DAEMON = Rule("snap-daemon", "daemon is simple, forking, oneshot, dbus or notify")
    DAEMON_SCOPE = Rule("snap-daemon-scope", "daemon-scope is system or user")
    SERVICE_ONLY = Rule("snap-service-only", "only an app with daemon has what belongs to a service")
    DURATION = Rule("snap-duration", "a time is numbers with units h, m, s, ms, us or ns, as in 1m30s, and not below 0")
    RESTART = Rule("snap-restart-condition", "restart-condition is never, always, or one of on-success, on-failure,"
                   " on-abnormal, on-abort, on-watchdog")
    STOP_MODE = Rule("snap-stop-mode", "stop-mode is sigterm, sighup, sigusr1, sigusr2 or sigint, or one with -all")
    REFRESH_MODE = Rule("snap-refresh-mode", "refresh-mode is endure or restart for a service, ignore-running for"
                        " another app")
    INSTALL_MODE = Rule("snap-install-mode", "install-mode is enable or disable")
    EXIT_STATUS = Rule("snap-success-exit-status", "success-exit-status is a list of integers from 1 to 255")
    ORDER_NAME = Rule("snap-order-name", "after and before name services of the same package")
    ORDER_SCOPE = Rule("snap-order-scope", "after and before name services of the same daemon-scope")
    ORDER_CYCLE = Rule("snap-order-cycle", "no service waits for itself")
    TIMER = Rule("snap-timer", "a timer is days, then times, as in mon-fri,10:00~12:00/2, and ,, between several")
    ALIAS = Rule("snap-alias", "an alias is letters, digits, - _ and . and begins with a letter or digit")
    ALIAS_TWICE = Rule("snap-alias-twice", "an alias stands for one app")
    COMMON_ID = Rule("snap-common-id", "a common-id belongs to one app")
    ACTIVATES_ON = Rule("snap-activates-on", "activates-on names slots of interface dbus whose bus is that of the"
                        " daemon-scope")
    ACTIVATES_TWICE = Rule("snap-activates-twice", "a slot activates one app")
    SOCKET_NAME = Rule("snap-socket-name", "a socket is named as a package is, of any length")
    SOCKET_PLUG = Rule("snap-socket-plug", "an app with sockets has the plug network-bind")
    SOCKET_MODE = Rule("snap-socket-mode", "a socket-mode is an octal number of at most 0777")
    SOCKET_ADDRESS = Rule("snap-socket-address", "listen-stream is a port, 127.0.0.1, [::1] or [::] with a port, a path"
                          " or an abstract name")
    SOCKET_PATH = Rule("snap-socket-path", "the path of a socket lies in a folder that the package writes for that"
                       " daemon-scope")
    SOCKET_ABSTRACT = Rule("snap-socket-abstract", "an abstract socket is named @snap.PACKAGE. and more")

    # hooks and components
    HOOK_NAME = Rule("snap-hook-name", "a hook is named by a-z, 0-9 and single inner hyphens, a letter first")
    HOOK_UNKNOWN = Rule("snap-hook-unknown", "a hook has a name that is called", warning=True)
    HOOK_CONFIGURE = Rule("snap-hook-configure", "a package with the hook default-configure has the hook configure")
    COMPONENT_NAME = Rule("snap-component-name", "a component is named as a package is")
    COMPONENT_TYPE = Rule("snap-component-type", "the type of a component is standard, kernel-modules or test")
    COMPONENT_KERNEL = Rule("snap-component-kernel", "only a kernel has components of kernel-modules")
    COMPONENT_SUMMARY = Rule("snap-component-summary", "the summary of a component has at most 128 characters")
    COMPONENT_HOOK = Rule("snap-component-hook", "the hooks of a component are install, pre-refresh, post-refresh and"
                          " remove, without slots")

    # layout
    LAYOUTS = Rule("snap-layouts", "the key is layout, not layouts")
    LAYOUT_PATH = Rule("snap-layout-path", "a path of a layout is absolute and has no empty part, . or ..")
    LAYOUT_VARIABLE = Rule("snap-layout-variable", "the variables of a layout are $SNAP, $SNAP_DATA and $SNAP_COMMON")
    LAYOUT_CHARACTER = Rule("snap-layout-character", "a path of a layout has none of ? * [ ] { } ^ and quotation marks")
    LAYOUT_TOP = Rule("snap-layout-top", "a layout makes nothing new at the top of the file system")
    LAYOUT_OFF_LIMITS = Rule("snap-layout-off-limits", "a layout leaves system folders alone")
    LAYOUT_OTHER = Rule("snap-layout-other", "a layout leaves other packages alone")
    LAYOUT_NESTED = Rule("snap-layout-nested", "no layout lies in another")
    LAYOUT_ONE = Rule("snap-layout-one", "a layout has one of bind, bind-file, symlink and type")
    LAYOUT_SOURCE = Rule("snap-layout-source", "what a layout shows lies in $SNAP, $SNAP_DATA or $SNAP_COMMON")
    LAYOUT_KIND = Rule("snap-layout-kind", "what layouts show is a folder to all of them or a file to all of them")
    LAYOUT_TYPE = Rule("snap-layout-type", "the type of a layout is tmpfs")
    LAYOUT_OWNER = Rule("snap-layout-owner", "user and group of a layout are root")
    LAYOUT_MODE = Rule("snap-layout-mode", "the mode of a layout is an octal number of at most 1777")

    # the rest
    USERNAME = Rule("snap-username", "a system user is named by a-z, 0-9, - _ and ., perhaps between two _")
    USERNAME_SCOPE = Rule("snap-username-scope", "a system user has a scope")
    LINK_NAME = Rule("snap-link-name", "a kind of links is named by letters, digits and single inner hyphens, a letter"
                     " first")
    LINK = Rule("snap-link", "a link is an address of http or https, or of e-mail; each kind has at least one")
