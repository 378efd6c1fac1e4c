"""What a `meta/snap.yaml` says, as values.

Nothing is decided here. Maps are tuples in the order of the document; times are nanoseconds, None where left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from imagekit.packages.epoch import EPOCH_ZERO, Epoch
from imagekit.packages.schedule import Events

Environment = tuple[tuple[str, str], ...]
Value = str | int | float | bool | tuple["Value", ...] | tuple[tuple[str, "Value"], ...]  # of an attribute
Attributes = tuple[tuple[str, Value], ...]

VERITY_TYPES = ("kernel", "base")  # mounted through dm-verity from a slot


class Confinement(StrEnum):
    STRICT = "strict"
    CLASSIC = "classic"
    DEVMODE = "devmode"


class Daemon(StrEnum):
    SIMPLE = "simple"
    FORKING = "forking"
    ONESHOT = "oneshot"
    DBUS = "dbus"
    NOTIFY = "notify"


class DaemonScope(StrEnum):
    SYSTEM = "system"
    USER = "user"


class Restart(StrEnum):
    """When a service is started again; the text is systemd's."""

    NEVER = "no"
    ON_SUCCESS = "on-success"
    ON_FAILURE = "on-failure"
    ON_ABNORMAL = "on-abnormal"
    ON_ABORT = "on-abort"
    ON_WATCHDOG = "on-watchdog"
    ALWAYS = "always"


class RefreshMode(StrEnum):
    ENDURE = "endure"
    RESTART = "restart"
    IGNORE_RUNNING = "ignore-running"


class InstallMode(StrEnum):
    ENABLE = "enable"
    DISABLE = "disable"


class ComponentType(StrEnum):
    STANDARD = "standard"
    KERNEL_MODULES = "kernel-modules"
    TEST = "test"


class LayoutKind(StrEnum):
    BIND = "bind"
    BIND_FILE = "bind-file"
    SYMLINK = "symlink"
    TMPFS = "tmpfs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """A plug or a slot. `declared` ones stand at the top level; others are only named by an app or a hook."""

    name: str
    interface: str
    label: str = ""
    attributes: Attributes = ()
    declared: bool = True

    def attribute(self, name: str) -> Value | None:
        """The value of an attribute, if there is one of that name."""
        return next((value for key, value in self.attributes if key == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Socket:
    """Where a service is listened for; `mode` is that of the socket's file, None where left out."""

    name: str
    listen_stream: str
    mode: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """A command or, with `daemon`, a service. `plugs` and `slots` are those that it names itself."""

    name: str
    command: str = ""
    command_chain: tuple[str, ...] = ()
    daemon: Daemon | None = None
    daemon_scope: DaemonScope | None = None
    stop_command: str = ""
    reload_command: str = ""
    post_stop_command: str = ""
    start_timeout: int | None = None
    stop_timeout: int | None = None
    watchdog_timeout: int | None = None
    restart_condition: Restart | None = None
    restart_delay: int | None = None
    success_exit_status: tuple[int, ...] = ()
    stop_mode: str = ""
    refresh_mode: RefreshMode | None = None
    install_mode: InstallMode | None = None
    after: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    timer: tuple[Events, ...] = ()
    sockets: tuple[Socket, ...] = ()
    activates_on: tuple[str, ...] = ()
    bus_name: str = ""
    plugs: tuple[str, ...] = ()
    slots: tuple[str, ...] = ()
    environment: Environment = ()
    aliases: tuple[str, ...] = ()
    common_id: str = ""
    completer: str = ""
    autostart: str = ""

    @property
    def is_service(self) -> bool:
        return self.daemon is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A program that is called at a time of the package's life."""

    name: str
    plugs: tuple[str, ...] = ()
    slots: tuple[str, ...] = ()
    environment: Environment = ()
    command_chain: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A part of the package that is shipped apart."""

    name: str
    type: ComponentType | None
    summary: str = ""
    description: str = ""
    hooks: tuple[Hook, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """`source`, a path in the package or its data, shown at `path`; nothing for a tmpfs."""

    path: str
    kind: LayoutKind
    source: str = ""
    user: str = "root"
    group: str = "root"
    mode: int = 0o755


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemUsername:
    """A user of the system that the package's services run as."""

    name: str
    scope: str
    attributes: Attributes = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapInfo:
    """A package, as its own `meta/snap.yaml` states it."""

    name: str
    version: str
    type: str
    architectures: tuple[str, ...]
    base: str | None = None
    summary: str = ""
    description: str = ""
    title: str = ""
    assumes: tuple[str, ...] = ()
    provenance: str = ""
    license: str = ""
    epoch: Epoch = EPOCH_ZERO
    confinement: Confinement = Confinement.STRICT
    grade: str = ""
    environment: Environment = ()
    plugs: tuple[Interface, ...] = ()
    slots: tuple[Interface, ...] = ()
    apps: tuple[App, ...] = ()
    hooks: tuple[Hook, ...] = ()
    components: tuple[Component, ...] = ()
    layouts: tuple[Layout, ...] = ()
    system_usernames: tuple[SystemUsername, ...] = ()
    links: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def model_type(self) -> str:
        """The type as models have it: what snap.yaml calls os, they call core."""
        return "core" if self.type == "os" else self.type

    @property
    def services(self) -> tuple[App, ...]:
        return tuple(app for app in self.apps if app.is_service)

    @property
    def common_plugs(self) -> tuple[str, ...]:
        """The plugs that no app and no hook names: all of them have these."""
        return _unnamed(self.plugs, [item.plugs for item in self._users])

    @property
    def common_slots(self) -> tuple[str, ...]:
        """The slots that no app and no hook names, and that activate nobody."""
        return _unnamed(self.slots, [*(item.slots for item in self._users), *(app.activates_on for app in self.apps)])

    def plugs_of(self, app: App) -> tuple[str, ...]:
        """The plugs that an app has in the end."""
        return (*app.plugs, *self.common_plugs)

    def slots_of(self, app: App) -> tuple[str, ...]:
        """The slots that an app has in the end; what activates it is one."""
        return (*dict.fromkeys((*app.slots, *app.activates_on)), *self.common_slots)

    @property
    def _users(self) -> tuple[App | Hook, ...]:
        return (*self.apps, *self.hooks, *(hook for component in self.components for hook in component.hooks))


def _unnamed(all_: tuple[Interface, ...], named: list[tuple[str, ...]]) -> tuple[str, ...]:
    taken = {name for names in named for name in names}
    return tuple(item.name for item in all_ if item.name not in taken)
