"""Believing, for the oracle: who signed what for whom, with which keys, at which time.

Two worlds: in one the brand is its own root of trust, in the other a store is the root and vouches for the brand. Each
scenario is the roots, what else is at hand, one assertion and a moment; both databases are asked whether to believe it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial

from imagekit.assertions import snap_id
from imagekit.assertions.database import Database
from imagekit.assertions.headers import Header
from imagekit.assertions.wire import Assertion, armor, decode_one, encode_content, encode_stream
from imagekit.keys import PrivateKey, sign_content
from imagekit.testing.documents import NOW, SIGNED, signing_key
from tests.oracle.compare import Case, Judgement, judged
from tests.oracle.samples import BRAND, TIME, all_samples, tree

STORE = "store"
SINCE = "2025-01-01T00:00:00Z"


def sign(headers: Mapping[str, Header], body: bytes = b"", *, key: PrivateKey, created: datetime = SIGNED) -> Assertion:
    """Sign without asking whether the rules of the type are kept."""
    content = encode_content({**headers, "sign-key-sha3-384": key.public.key_id}, body)
    signature = armor(sign_content(key, content, created=created, what="a case"))
    return decode_one(content + b"\n\n" + signature + b"\n", name=str(headers["type"]))


def account(name: str, *, by: str, key: PrivateKey) -> Assertion:
    return sign(tree("account", authority_id=by, account_id=name, display_name=name, validation="unproven",
                     timestamp=SINCE),
                key=key)


def account_key(owner: str, public: PrivateKey, *, by: str, key: PrivateKey, **more: Header) -> Assertion:
    headers = {"since": SINCE, **{name.replace("_", "-"): value for name, value in more.items()}}
    return sign({**tree("account-key", authority_id=by, public_key_sha3_384=public.public.key_id, account_id=owner,
                        name="models"), **headers}, armor(public.public.encode()), key=key)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Roots, and all that is at hand beside them. `key` signs for the brand."""

    name: str
    roots: tuple[Assertion, ...]
    others: tuple[Assertion, ...]
    key: PrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    name: str
    world: World
    subject: Assertion
    now: datetime = NOW


def own_root() -> World:
    """The brand is root, store and publisher in one."""
    key = signing_key("brand")
    others = tuple(account(name, by=BRAND, key=key) for name in ("other", "third", "store"))
    return World(name="own root", key=key, others=others,
                 roots=(account_key(BRAND, key, by=BRAND, key=key), account(BRAND, by=BRAND, key=key)))


def vouched() -> World:
    """A store is the root; it vouches for the brand and its key."""
    root, key = signing_key("store"), signing_key("brand")
    others = (*(account(name, by=STORE, key=root) for name in (BRAND, "other", "third")),
              account_key(BRAND, key, by=STORE, key=root))
    return World(name="vouched", key=key, others=others,
                 roots=(account_key(STORE, root, by=STORE, key=root), account(STORE, by=STORE, key=root)))


def declared(world: World) -> World:
    """With declarations of the packages, by the world's root."""
    by, key = (BRAND, world.key) if world.name == "own root" else (STORE, signing_key("store"))
    more = [sign(tree("snap-declaration", authority_id=by, series="16", snap_id=snap_id(BRAND, name), snap_name=name,
                      publisher_id=BRAND, timestamp=TIME), key=key) for name in ("app-one", "app-two")]
    return replace(world, name=f"{world.name}, declared", others=(*world.others, *more))


def with_(world: World, *more: Assertion, name: str = "", without: Iterable[str] = ()) -> World:
    kept = tuple(item for item in world.others if item.label not in set(without))
    return replace(world, name=name or world.name, others=(*kept, *more))


def of_every_type() -> Iterator[Scenario]:
    """Every sample signed by the brand, in each world; and by the store in the one where it is the root."""
    for world in (own_root(), vouched(), declared(own_root()), declared(vouched())):
        for name, (headers, body) in all_samples().items():
            yield Scenario(name=f"{name} by the brand", world=world, subject=sign(headers, body, key=world.key))
            if world.name.startswith("vouched") and "authority-id" in headers:
                by_store = {**headers, "authority-id": STORE}
                yield Scenario(name=f"{name} by the store", world=world,
                               subject=sign(by_store, body, key=signing_key("store")))
        bare = replace(world, name=f"{world.name}, nothing at hand", others=())
        for name in ("model-signed", "snap-revision", "snap-declaration", "account-key", "serial"):
            headers, body = all_samples()[name]
            yield Scenario(name=name, world=bare, subject=sign(headers, body, key=world.key))


def tampered() -> Iterator[Scenario]:
    """Bytes that changed after signing."""
    world, draw = own_root(), random.Random(7)
    headers, body = all_samples()["serial"]
    subject = sign(headers, body, key=world.key)
    model = sign(all_samples()["model-signed"][0], key=world.key)
    yield Scenario(name="signature of another", world=world, subject=replace(subject, signature=model.signature))
    for number in range(60):
        raw = bytearray(model.signature)
        at = draw.randrange(len(raw))
        raw[at] = draw.choice(b"ABab01+/=\n ")
        yield Scenario(name=f"signature byte {at} becomes {raw[at]:#04x}", world=world,
                       subject=replace(model, signature=bytes(raw)))
        content = bytearray(model.content)
        at = model.content.index(b"pc-kernel") + number % 9
        content[at] = draw.choice(b"abcxyz")
        if bytes(content) != model.content:
            yield Scenario(name=f"content byte {at} becomes {content[at]:#04x}", world=world,
                           subject=decode_one(bytes(content) + b"\n\n" + model.signature + b"\n", name="case"))


def of_keys() -> Iterator[Scenario]:
    """Keys that are unknown, another's, rotated, constrained, or vouched for in a circle."""
    root, brand, stranger = signing_key("store"), signing_key("brand"), signing_key("stranger")
    world, model = vouched(), all_samples()["model-signed"][0]
    by_brand = sign(model, key=brand)
    key_label = account_key(BRAND, brand, by=STORE, key=root).label
    unvouched = with_(world, without=[key_label], name="brand key unknown")
    yield Scenario(name="key unknown", world=unvouched, subject=by_brand)
    yield Scenario(name="stranger's key unknown", world=world, subject=sign(model, key=stranger))
    yield Scenario(name="key of another account", subject=sign(model, key=stranger),
                   world=with_(world, account_key("other", stranger, by=STORE, key=root)))
    yield Scenario(name="second key of the brand", subject=sign(model, key=stranger),
                   world=with_(world, account_key(BRAND, stranger, by=STORE, key=root, name="second")))
    yield Scenario(name="second key of the brand with the first one's name", subject=sign(model, key=stranger),
                   world=with_(world, account_key(BRAND, stranger, by=STORE, key=root)))
    yield Scenario(name="key vouched for by the brand itself", subject=sign(model, key=stranger),
                   world=with_(world, account_key(BRAND, stranger, by=BRAND, key=brand)))
    yield Scenario(name="self-signed key", subject=sign(model, key=stranger),
                   world=with_(world, account_key(BRAND, stranger, by=BRAND, key=stranger)))
    yield Scenario(name="account of the brand missing", subject=by_brand,
                   world=with_(world, without=[account(BRAND, by=STORE, key=root).label]))
    ended = {"until": "2026-03-01T00:00:00Z"}
    for name, until in (("revision 1 ends the key before the model", {"until": "2025-06-01T00:00:00Z"}),
                        ("revision 1 ends the key after the model", ended)):
        rotated = with_(world, account_key(BRAND, brand, by=STORE, key=root, revision="1", **until))
        for now in (SIGNED, datetime(2026, 2, 1, tzinfo=UTC), NOW):
            yield Scenario(name=f"{name}, at {now:%Y-%m-%d}", world=rotated, subject=by_brand, now=now)
    of_models: Header = {"headers": {"type": "model"}}
    of_serials: Header = {"headers": {"type": "serial"}}
    limits: Mapping[str, Header] = {
        "models": (of_models,), "serials": (of_serials,),
        "this model": ({"headers": {"type": "model", "model": "pc"}},),
        "other models": ({"headers": {"type": "model", "model": "desk"}},),
        "a pattern": ({"headers": {"type": "model", "model": "p."}},),
        "two": (of_serials, {"headers": {"type": "model", "base": "debian-1[0-9]"}})}
    for what, matchers in limits.items():
        limited = account_key(BRAND, brand, by=STORE, key=root, format="1", constraints=matchers)
        for name in ("model-signed", "model-hybrid", "serial"):
            headers, body = all_samples()[name]
            yield Scenario(name=f"key for {what} signs {name}", world=with_(world, limited, without=[key_label]),
                           subject=sign(headers, body, key=brand))


def of_times() -> Iterator[Scenario]:
    """A key in force from 2025-06-01 to 2026-06-01; what it signs, and when that is asked."""
    root, brand, second = signing_key("store"), signing_key("brand"), timedelta(seconds=1)
    begin, end = datetime(2025, 6, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
    world = vouched()
    label = account_key(BRAND, brand, by=STORE, key=root).label
    bounded = with_(world, account_key(BRAND, brand, by=STORE, key=root, since=f"{begin:%Y-%m-%dT%H:%M:%SZ}",
                                       until=f"{end:%Y-%m-%dT%H:%M:%SZ}"), without=[label], name="bounded key")
    moments = (begin - second, begin, begin + second, end - second, end, end + second)
    for signed_at in moments:
        headers = {**all_samples()["model-signed"][0], "timestamp": f"{signed_at:%Y-%m-%dT%H:%M:%SZ}"}
        for now in (*moments, NOW):
            yield Scenario(name=f"of {signed_at:%Y-%m-%d %H:%M:%S}, at {now:%Y-%m-%d %H:%M:%S}", world=bounded, now=now,
                           subject=sign(headers, key=brand, created=signed_at))


def scenarios() -> Iterator[Scenario]:
    yield from of_every_type()
    yield from tampered()
    yield from of_keys()
    yield from of_times()


def judge(scenario: Scenario) -> Judgement:
    def verify() -> dict[str, str]:
        database = Database(scenario.world.roots)
        for assertion in scenario.world.others:
            database.add(assertion)
        database.verify(scenario.subject, now=scenario.now)
        return {}

    return judged(verify)


def cases(count: int = 0, seed: int = 0) -> Iterator[Case]:
    """All scenarios, whatever the count."""
    for scenario in scenarios():
        raw = scenario.subject.encode()
        yield Case(kind="verify", name=f"{scenario.name} [{scenario.world.name}]", document=raw,
                   judge=partial(judge, scenario),
                   request={"op": "verify", "trusted": [encode_stream(scenario.world.roots)],
                            "others": [encode_stream([item]) for item in scenario.world.others], "assertion": raw,
                            "time": f"{scenario.now:%Y-%m-%dT%H:%M:%SZ}"})
