"""Signatures that are made where the offline keys are: carried out as files, signed, brought back.

A file is one role's metadata as TUF has it, with the signatures that it has so far; nothing else has to travel. Whoever
signs sees what it says first (`told`). Bringing a file back takes only its signatures: what was not laid down by this
store is never published.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securesystemslib.formats import encode_canonical
from securesystemslib.signer import Key, Signer
from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import DelegatedRole, Metadata, Root, Targets

from imagekit.errors import DocumentError, PlanError, TrustError
from imagekit.host.files import write_atomic
from imagekit.plan.storepaths import ROLE_PREFIX, TARGETS, delegated_paths, patterns_of, stored_name
from imagekit.store.commit import Draft, Outcome, encode
from imagekit.store.metadata import TOP, read_metadata
from imagekit.store.repository import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A role that is to be signed: what a person has to agree to, line by line."""

    metadata: Metadata[Any]
    role_type: str
    version: int
    expires: str
    lines: tuple[str, ...]


def read_statement(path: Path) -> Statement:
    """Raises: HostError: it cannot be read. DocumentError: it is no metadata that is signed offline."""
    metadata = _read(path)
    signed = metadata.signed
    return Statement(metadata=metadata, role_type=signed.type, version=signed.version,
                     expires=signed.expires.isoformat(), lines=told(metadata))


def _read(path: Path) -> Metadata[Any]:
    metadata = read_metadata(path)
    if not isinstance(metadata.signed, Root | Targets):
        raise DocumentError(f"cannot sign {path}: a {metadata.signed.type} is signed by the store itself")
    return metadata


def told(metadata: Metadata[Any]) -> tuple[str, ...]:
    """What the metadata says, for people: whoever made it, nothing in it hides anything else on their terminal."""
    lines = _lines(metadata.signed)
    return tuple("".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode()
                         for letter in line) for line in lines)


def _lines(signed: Root | Targets) -> list[str]:
    if isinstance(signed, Root):
        return [*_other_keys(signed.keys), *(
            f"{name}: {role.threshold} of {', '.join(sorted(key[:12] for key in role.keyids))}"
            for name, role in sorted(signed.roles.items()))]
    lines = _other_keys(signed.delegations.keys) if signed.delegations else []
    lines += [f"target {path}: {target.length} bytes, sha256 {target.hashes.get('sha256', '-')}"
              for path, target in sorted(signed.targets.items())]
    delegations = signed.delegations
    for name, role in sorted((delegations.roles or {}).items()) if delegations else ():
        lines.append(f"{name}: {role.threshold} of {', '.join(sorted(key[:12] for key in role.keyids))}, packages"
                     f" {' '.join(patterns_of(role.paths or []))}")
        lines += _beyond_names(role)
    if delegations and (bins := delegations.succinct_roles) is not None:
        lines.append(f"careful: {bins.threshold} of {', '.join(sorted(key[:12] for key in bins.keyids))} sign for"
                     f" everything, in {bins.number_of_bins} bins")
    return lines


def _beyond_names(role: DelegatedRole) -> Iterator[str]:
    """What a publisher would have that this program gives to none."""
    paths = role.paths or []
    usual = delegated_paths(role.name.removeprefix(ROLE_PREFIX), patterns_of(paths))
    for path in sorted(set(paths) - set(usual)):
        yield f"careful: {role.name} signs for {path} too"
    if role.path_hash_prefixes:
        yield f"careful: {role.name} signs for all whose hash begins with {', '.join(role.path_hash_prefixes)}"
    if not role.terminating:
        yield f"careful: what {role.name} does not have is looked for elsewhere"


def _other_keys(keys: Mapping[str, Key]) -> list[str]:
    """Keys under an id that is not theirs: by their ids alone, people would take them for others."""
    found = []
    for name, key in sorted(keys.items()):
        text = encode_canonical({"keytype": key.keytype, "scheme": key.scheme, "keyval": key.keyval}) or ""
        digest = hashlib.sha256(text.encode()).hexdigest()
        if digest != name:
            found.append(f"careful: the key that is called {name[:12]} here is {digest[:12]}")
    return found


def sign_statement(statement: Statement, signers: Iterable[Signer], output: Path) -> int:
    """Add signatures and write the file; how many it has now. Raises: HostError: it cannot be written."""
    for signer in signers:
        statement.metadata.sign(signer, append=True)
    write_atomic(output, encode(statement.metadata))
    return len(statement.metadata.signatures)


def apply(store: Store, files: Sequence[Path]) -> Outcome:
    """Take the signatures of the files into what waits, add those that can be made here, publish if they suffice.

    Raises:
        PlanError: nothing waits, it waited too long, it was made on a version that is not the newest any more, a file
            was made for another change, or what the change names is not in the store.
        TrustError: what it names is there with other bytes.
        DocumentError, HostError: a file cannot be read.
    """
    waiting = {path.stem: _read(path) for path in store.pending}
    if not waiting:
        raise PlanError(f"cannot apply signatures to store {store.folder}: no change waits for any")
    for role, metadata in waiting.items():
        _check_base(store, role, metadata)
    for file in files:
        brought = _read(file)
        match = next((item for item in waiting.values() if item.signed_bytes == brought.signed_bytes), None)
        if match is None:
            raise PlanError(f"cannot apply {file}: no change that waits says what was signed there",
                            hint="sign the file that lies in the store's folder pending now")
        match.signatures.update(brought.signatures)
    for role, metadata in waiting.items():
        if metadata.signed.is_expired(store.now):
            raise PlanError(f"cannot apply the change of {role}: it waited beyond its own end,"
                            f" {metadata.signed.expires:%Y-%m-%d %H:%M} UTC: no device would believe it",
                            hint="imagekit store apply --discard, and make the change again")
        _check_files(store, metadata)
    draft = Draft(config=store.config, now=store.now, published=store.published, roles=waiting,
                  carried=frozenset(waiting))
    _check_delegated(draft)
    return store.commit(draft)


def _check_base(store: Store, role: str, metadata: Metadata[Any]) -> None:
    """Raises: PlanError: another change of the role was published since, which this one would take back."""
    version, newest = metadata.signed.version, store.version_of(role)
    if version > newest:
        return
    published = store.draft_online().current(role)
    known = told(published) if published is not None else ()
    raise PlanError(f"cannot apply the change of {role}: it is version {version}, made on {version - 1}, and {newest}"
                    " is published by now", details=tuple(line for line in told(metadata) if line not in known),
                    hint=f"take {role}.json out of the folder pending: the copy of the store that it came from has it"
                         " still; make the change again in a copy of the store as it is now")


def _check_delegated(draft: Draft) -> None:
    """Raises: PlanError: a publisher's role waits without what makes it one, as a power cut may leave it."""
    targets = draft.current("targets")
    delegations = targets.signed.delegations if targets is not None else None
    for role in draft.roles.keys() - TOP:
        if delegations is None or role not in (delegations.roles or {}):
            raise PlanError(f"cannot apply the change of {role}: the store delegates nothing to {role}",
                            hint="imagekit store apply --discard, and make the change again")


def _check_files(store: Store, metadata: Metadata[Any]) -> None:
    """What a change names lies in the store, also where it was laid there by hand, out of a publisher's copy.

    Raises: PlanError: a file is missing. TrustError: it is another.
    """
    known = {(target.path, target.hashes["sha256"]) for _, target in store.published.listed()}
    for path, target in metadata.signed.targets.items() if isinstance(metadata.signed, Targets) else ():
        if (path, target.hashes["sha256"]) in known:
            continue
        file = store.public / TARGETS / stored_name(path, target.hashes["sha256"])
        try:
            with file.open("rb") as stream:
                target.verify_length_and_hashes(stream)
        except OSError as error:
            raise PlanError(f"cannot apply the change of {path}: {file} is missing",
                            hint="lay public/targets of the copy that it was published into there") from error
        except LengthOrHashMismatchError as error:
            raise TrustError(f"cannot apply the change of {path}: {file} is not what was signed") from error


def discard(store: Store) -> tuple[str, ...]:
    """Give up what waits; which roles did."""
    names = tuple(path.stem for path in store.pending)
    for path in store.pending:
        path.unlink()
    return names
