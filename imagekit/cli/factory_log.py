"""Wire the reading of a station's log together: whose key it is, what is told, the report."""

from __future__ import annotations

from pathlib import Path

from imagekit.cli.keyring import keyring
from imagekit.cli.output import emit_json, say, table, warn, write
from imagekit.digests import short
from imagekit.errors import DocumentError, TrustError
from imagekit.host.files import read_file, write_atomic
from imagekit.host.trust import read_public_key
from imagekit.keys import PublicKey
from imagekit.plan.factory_log import Kind, Log, Totals, decode_log, given, totals
from imagekit.plan.factory_report import encode_report
from imagekit.plan.factory_tiles import clock_text

MOST_LOG = 1 << 30


def read_log(path: Path, *, key: str | None) -> tuple[Log, str]:
    """A log that holds, and whose key signed it, in words.

    Raises:
        TrustError: a line does not hold; another key than the one that was named, or one that nobody knows, signed it.
        DocumentError: it is no log.
    """
    log = decode_log(read_file(path, limit=MOST_LOG), name=str(path))
    if log.key is None:
        return log, "nobody: it is empty"
    known = _known(key)
    name = next((name for name, public in known.items() if public == log.key), None)
    if name is None:
        wanted = f"the key {key}" if key else "no key of your keyring"
        raise TrustError(f"cannot believe {path}: it is signed by key {short(log.key.key_id)}, which is"
                         f" {'not ' if key else ''}{wanted}", hint="name the station's public key with --key")
    return log, f"{name}, {log.key.key_id}"


def _known(key: str | None) -> dict[str, PublicKey]:
    ring = keyring()
    if key is None:
        return {name: ring.stored(name).public for name in ring.names()}
    if "/" not in key and key in ring.names():
        return {key: ring.stored(key).public}
    return {Path(key).name: read_public_key(Path(key))}


def check(path: Path, *, key: str | None, head: str | None, as_json: bool) -> None:
    """`imagekit factory check`."""
    log, whose = read_log(path, key=key)
    counts, handed = totals(log), given(log)
    if head is not None and head not in {record.digest for record in log.records}:
        raise TrustError(f"cannot believe {path}: it does not hold the digest {short(head)}",
                         hint="its last records were taken away, or it is another log")
    if as_json:
        emit_json({"log": str(path), "station": log.records[0].said["station"] if log.records else None,
                   "records": len(log.records), "head": log.head, "key": log.key.key_id if log.key else None,
                   "done": counts.done, "failed": counts.failed, "interrupted": counts.interrupted,
                   "serials": [*counts.serials, *handed], "torn_bytes": len(log.torn)})
        return
    if handed:
        table(("record", "serial", "model", "asked by", "time", "device key"), [
            (record.number, record.said["serial"], f"{record.said['brand']}/{record.said['model']}",
             record.said["asked_by"], record.said["time"][:19].replace("T", " "), short(record.said["device_key"]))
            for record in log.of(Kind.SERIAL)], right=("record",))
        write(f"\n{len(handed)} serials were given; the last record is {log.head}")
    else:
        _show_units(log, counts)
    say(f"every signature and every link holds; the key is {whose}" if log.records else
        "the log is empty: nothing was recorded, or all of it was taken away")
    if log.torn:
        warn(f"{len(log.torn)} bytes at the end are no record: a power cut tore them; the station sets them aside")


def _show_units(log: Log, counts: Totals) -> None:
    table(("record", "serial", "result", "port", "began", "time", "problem"), [
        (record.number, (record.said["identity"] or {}).get("serial", "-"), record.said["result"], record.said["port"],
         record.said["began"][:19].replace("T", " "), clock_text(record.said["seconds"]), record.said["problem"] or "-")
        for record in log.of(Kind.UNIT)], right=("record", "time"))
    write(f"\n{counts.done} good, {counts.failed + counts.interrupted} not; {len(log.records)} records, the last is"
          f" {log.head}")


def report(path: Path, output: Path, *, key: str | None, as_json: bool) -> None:
    """`imagekit factory report`."""
    log, whose = read_log(path, key=key)
    if given(log):
        raise DocumentError(f"cannot report on {path}: it is a signing service's log, and has no units",
                            hint="imagekit factory check shows the serials that were given")
    write_atomic(output, encode_report(log, name=path.name, key=whose))
    if as_json:
        counts = totals(log)
        emit_json({"file": str(output), "head": log.head, "done": counts.done, "failed": counts.failed})
    else:
        write(str(output))
