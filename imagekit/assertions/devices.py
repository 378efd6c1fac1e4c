"""What assertions say of devices: who one is, how it asks for that, and which users a brand lets onto it.

Sources: snapd's asserts/serial_asserts.go, system_user.go, repair.go.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from imagekit.assertions.accounts import parse_key
from imagekit.assertions.fields import ACCOUNT_ID, MODEL_NAME, SNAP_NAME, Fields, Form, check_type
from imagekit.assertions.headers import shown
from imagekit.assertions.rulebook import AssertionRules
from imagekit.assertions.wire import Assertion
from imagekit.keys import PublicKey

UNTIL_EXPIRATION = "until-expiration"
LONGEST_WITHOUT_MODELS = 1  # years
LEAST_HASH, LEAST_ROUNDS, MOST_ROUNDS = 6, 5000, 999999999  # crypt(3): $6$ is sha512crypt
REPAIR_MODES = ("run", "recover")
BASES_WITHOUT_MODES = ("core", "core16", "core18")

USERNAME = Form(re.compile(r"[a-z0-9][-a-z0-9._]*\Z"), "a user's name: a-z, 0-9, dot, hyphen and underscore,"
                " a letter or digit first", AssertionRules.USER_NAME)
_LETTER = r'[^\x00-\x20"(),.:;<>@\[\\\]\x7f]'  # what is excluded: the set of what is allowed takes 20 ms to compile
_WORD = rf"{_LETTER}+(?:\.{_LETTER}+)*"
_ADDRESS = rf"(?:{_WORD}|\"[^\"\\\x00-\x1f]+\")@(?:{_WORD}|\[[^\[\]\\\s]+\])"
EMAIL = Form(re.compile(rf"(?=[^\n]{{3,320}}\Z) *(?:{_ADDRESS}|(?:{_LETTER}|[ .]|\"[^\"\\]*\")*<{_ADDRESS}>) *\Z"),
             "an email address, as in NAME@HOST", AssertionRules.USER_EMAIL)
_HASH = re.compile(r"[a-zA-Z0-9./]+\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Serial:
    """Who a device is: its brand, model and serial, and the public part of the key that it holds."""

    brand_id: str
    model: str
    serial: str
    device_key: PublicKey
    timestamp: datetime
    assertion: Assertion


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialRequest:
    """A device asks to be told its serial, signed by its key; `serial` is the one it proposes, or empty."""

    brand_id: str
    model: str
    serial: str
    request_id: str
    device_key: PublicKey
    assertion: Assertion


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSessionRequest:
    """A device asks a store for a session: the store's nonce, signed by the device's key."""

    brand_id: str
    model: str
    serial: str
    nonce: str
    timestamp: datetime
    assertion: Assertion


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemUser:
    """A user that a brand lets onto its devices. Empty `models` are all, empty `serials` are all of the model.

    `expires` is when the user goes away again, if ever.
    """

    brand_id: str
    email: str
    series: tuple[str, ...]
    models: tuple[str, ...]
    serials: tuple[str, ...]
    name: str
    username: str
    password: str
    force_password_change: bool
    ssh_keys: tuple[str, ...]
    since: datetime
    until: datetime
    expires: datetime | None
    assertion: Assertion

    def valid_at(self, when: datetime) -> bool:
        return self.since <= when < self.until


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """A script for devices that nothing else can reach; its body is the script."""

    brand_id: str
    repair_id: int
    summary: str
    series: tuple[str, ...]
    architectures: tuple[str, ...]
    models: tuple[str, ...]
    modes: tuple[str, ...]
    bases: tuple[str, ...]
    disabled: bool
    timestamp: datetime
    assertion: Assertion


def parse_serial(assertion: Assertion) -> Serial:
    fields = check_type(assertion, "serial")
    key, key_id = _device_key(fields), fields.text("device-key-sha3-384")
    if key.n and key.key_id != key_id:
        fields.problem(f"{shown(key_id)} is not the id of the device-key, {key.key_id}", "device-key-sha3-384",
                       rule=AssertionRules.PUBLIC_KEY)
    serial = Serial(
        brand_id=fields.text("brand-id", form=ACCOUNT_ID), model=fields.text("model", form=MODEL_NAME),
        serial=fields.text("serial"), device_key=key, timestamp=fields.time("timestamp"), assertion=assertion)
    fields.finish()
    return serial


def _device_key(fields: Fields) -> PublicKey:
    text = fields.text("device-key")
    return parse_key(fields, text.encode(), "device-key") if text else PublicKey(n=0, e=0)


def parse_serial_request(assertion: Assertion) -> SerialRequest:
    fields = check_type(assertion, "serial-request")
    key = _device_key(fields)
    if key.n and key.key_id != assertion.key_id:
        fields.problem(f"has the id {key.key_id}, but another key signed", "device-key",
                       rule=AssertionRules.SERIAL_REQUEST_KEY)
    request = SerialRequest(
        brand_id=fields.text("brand-id"), model=fields.text("model", form=MODEL_NAME),
        serial=fields.optional("serial"), request_id=fields.text("request-id"), device_key=key, assertion=assertion)
    fields.finish()
    return request


def parse_device_session_request(assertion: Assertion) -> DeviceSessionRequest:
    fields = check_type(assertion, "device-session-request")
    request = DeviceSessionRequest(
        brand_id=fields.text("brand-id"), model=fields.text("model", form=MODEL_NAME), serial=fields.text("serial"),
        nonce=fields.text("nonce"), timestamp=fields.time("timestamp"), assertion=assertion)
    fields.finish()
    return request


def parse_system_user(assertion: Assertion) -> SystemUser:
    fields = check_type(assertion, "system-user")
    models, serials = fields.texts("models"), fields.texts("serials")
    if serials and assertion.format < 1:
        fields.problem("needs format 1", "serials", rule=AssertionRules.USER_SERIALS)
    if serials and len(models) != 1:
        fields.problem(f"needs exactly one model, not {len(models)}", "serials", rule=AssertionRules.USER_SERIALS)
    since, until = fields.time("since"), fields.time("until")
    _check_period(fields, since, until, models)
    password, force = fields.optional("password"), fields.flag("force-password-change")
    if password and (reason := password_problem(password)):
        fields.problem(reason, "password", rule=AssertionRules.USER_PASSWORD)
    if force and not password:
        fields.problem("needs a password to change", "force-password-change", rule=AssertionRules.USER_FORCE)
    user = SystemUser(
        brand_id=fields.text("brand-id"), email=fields.text("email", form=EMAIL), series=fields.texts("series"),
        models=models, serials=serials, name=fields.optional("name"), username=fields.text("username", form=USERNAME),
        password=password, force_password_change=force, ssh_keys=fields.texts("ssh-keys"), since=since, until=until,
        expires=until if _presence(fields, assertion) else None, assertion=assertion)
    fields.finish()
    return user


def _check_period(fields: Fields, since: datetime, until: datetime, models: tuple[str, ...]) -> None:
    if until < since:
        fields.problem("ends before it begins with 'since'", "until", rule=AssertionRules.PERIOD)
    if not models and "until" in fields and until > year_after(since):
        fields.problem("more than a year after 'since', which needs models that it is restricted to", "until",
                       rule=AssertionRules.USER_PERIOD)


def year_after(when: datetime) -> datetime:
    """The same day of the next year; after a leap day the first of March."""
    if when.year == datetime.max.year:
        return when.replace(month=12, day=31, hour=23, minute=59, second=59)
    if (when.month, when.day) == (2, 29):
        return when.replace(year=when.year + LONGEST_WITHOUT_MODELS, month=3, day=1)
    return when.replace(year=when.year + LONGEST_WITHOUT_MODELS)


def _presence(fields: Fields, assertion: Assertion) -> bool:
    word = fields.optional("user-presence")
    if word and assertion.format < 2:
        fields.problem("needs format 2", "user-presence", rule=AssertionRules.USER_PRESENCE)
    if word not in ("", UNTIL_EXPIRATION):
        fields.problem(f"{shown(word)} is not {UNTIL_EXPIRATION}", "user-presence", rule=AssertionRules.USER_PRESENCE)
    return bool(word)


def password_problem(password: str) -> str | None:
    """What keeps a text from being a hashed password, if anything does. The text itself is never shown."""
    parts = password.split("$", 4)
    if len(parts) not in (4, 5) or (len(parts) == 4 and parts[2].startswith("rounds=")):
        return "not a hashed password, expected $ID$SALT$HASH as crypt(3) makes it"
    if not re.match(r"[+-]?[0-9]{1,9}\Z", parts[1]) or int(parts[1]) < LEAST_HASH:
        return f"its hash is not one of ${LEAST_HASH}$ (sha512crypt) or higher"
    if len(parts) == 5 and parts[2].startswith("rounds="):
        rounds = parts[2].removeprefix("rounds=")
        if not re.match(r"[0-9]{1,9}\Z", rounds) or not LEAST_ROUNDS <= int(rounds) <= MOST_ROUNDS:
            return f"its rounds are not a number of {LEAST_ROUNDS} to {MOST_ROUNDS}"
    if not all(map(_HASH.match, parts[-2:])):
        return "its salt or hash has letters other than a-z, A-Z, 0-9, dot and slash"
    return None


def parse_repair(assertion: Assertion) -> Repair:
    fields = check_type(assertion, "repair")
    brand = fields.text("brand-id")
    if assertion.authority_id != brand:
        fields.problem(f"{shown(assertion.authority_id)} is not the brand {brand!r}, which alone signs its repairs",
                       "authority-id", rule=AssertionRules.REPAIR_AUTHORITY)
    summary = fields.text("summary")
    if "\n" in summary or "\r" in summary:
        fields.problem("has several lines, one is allowed", "summary", rule=AssertionRules.REPAIR_SUMMARY)
    modes, bases = fields.texts("modes"), fields.texts("bases", form=SNAP_NAME)
    for index, mode in enumerate(modes):
        if mode not in REPAIR_MODES:
            fields.problem(f"{shown(mode)} is not one of {', '.join(REPAIR_MODES)}", "modes", index,
                           rule=AssertionRules.REPAIR_MODES)
    for index, base in enumerate(bases):
        if modes and base in BASES_WITHOUT_MODES:
            fields.problem(f"{base!r} has no modes, and the repair names some", "bases", index,
                           rule=AssertionRules.REPAIR_MODES)
    repair = Repair(
        brand_id=brand, repair_id=fields.number("repair-id", least=1), summary=summary, series=fields.texts("series"),
        architectures=fields.texts("architectures"), models=fields.texts("models"), modes=modes, bases=bases,
        disabled=fields.flag("disabled"), timestamp=fields.time("timestamp"), assertion=assertion)
    fields.finish()
    return repair
