"""Wire the making of identities together: whose key, which serials; in advance, or while stations ask."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from imagekit.assertions import Assertion
from imagekit.assertions.fields import MODEL_NAME
from imagekit.build.sign import Authority
from imagekit.cli.keyring import open_authority
from imagekit.cli.output import emit_json, say, short_path, write
from imagekit.cli.progress import progress
from imagekit.errors import UsageError
from imagekit.flash.serials import Desk, Policy
from imagekit.flash.serials_http import BASE, make_serial_server, tls_of
from imagekit.host.clock import SystemClock
from imagekit.host.factorylog import FactoryLog
from imagekit.host.prepared import prepare, serial_names
from imagekit.host.serialservice import make_token, read_token
from imagekit.host.trust import signing_time


def prepare_all(model: str, first: str, count: int, *, key_name: str, output: Path, passphrase_file: Path | None,
                trust: tuple[Path, ...], as_json: bool) -> None:
    """`imagekit factory prepare`."""
    brand, name = _named(model)
    serials = tuple(serial_names(first, count))
    authority = open_authority(key_name, passphrase_file, trust)
    proof = _proof(authority)
    with progress() as told:
        told.step("make device keys", total=count, unit="keys")
        for serial in serials:
            prepare(output, serial, authority=authority.account_id, brand=brand, model=name, key=authority.key,
                    now=signing_time(SystemClock()), proof=proof)
            told.advance(1)
    if as_json:
        emit_json({"folder": str(output), "serials": list(serials)})
        return
    write(str(output))
    say(f"{count} identities, {serials[0]} to {serials[-1]}, in {short_path(output)}: whoever reads it has their keys")


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Where and to whom serials are given. `tokens` are files named after their stations; `tls` certificate and key."""

    log: Path
    tokens: tuple[Path, ...]
    a_minute: int
    host: str
    port: int
    tls: tuple[Path, Path] | None


def serve(model: str, first: str, count: int, service: Service, *, key_name: str, passphrase_file: Path | None,
          trust: tuple[Path, ...]) -> None:
    """`imagekit factory serve`."""
    brand, name = _named(model)
    serials = tuple(serial_names(first, count))
    names = [path.stem for path in service.tokens]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"cannot tell stations apart: two of the tokens are called {twice}")
    authority = open_authority(key_name, passphrase_file, trust)
    for path in service.tokens:
        if not path.exists():
            make_token(path)
            say(f"made {short_path(path)}: station {path.stem} needs a copy of it, and nobody else")
    tokens = {path.stem: read_token(path) for path in service.tokens}
    tls = tls_of(*service.tls) if service.tls else None
    log = FactoryLog(service.log, station=f"{brand}/{name}", key=authority.key, clock=SystemClock())
    try:
        policy = Policy(authority=authority.account_id, brand=brand, model=name, serials=serials,
                        a_minute=service.a_minute, proof=_proof(authority))
        desk = Desk(policy, key=authority.key, log=log, clock=SystemClock(), new_id=lambda: secrets.token_urlsafe(32))
        server = make_serial_server(desk, tokens, host=service.host, port=service.port, tls=tls, told=say)
        host = f"[{service.host}]" if ":" in service.host else service.host
        say(f"{desk.left} serials of {brand}/{name} are left; Ctrl-C ends it")
        write(f"http{'s' if tls else ''}://{host}:{server.server_address[1]}{BASE}")
        try:
            server.serve_forever(poll_interval=0.2)
        finally:
            server.server_close()
    finally:
        log.close()


def _named(model: str) -> tuple[str, str]:
    brand, _, name = model.partition("/")
    if not brand or not MODEL_NAME.match(name):
        raise UsageError(f"cannot make identities of {model!r}: a brand and a model are expected, as in acme/pc")
    return brand, name


def _proof(authority: Authority) -> tuple[Assertion, ...]:
    """What comes along with every serial: whose key signed it."""
    account = next((item for item in authority.trusted if item.type == "account"
                    and item.text("account-id") == authority.account_id), None)
    return tuple(item for item in (authority.account_key.assertion, account) if item is not None)
