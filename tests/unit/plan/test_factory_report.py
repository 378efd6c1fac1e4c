"""The report: everything of a log, as text and not as markup, equal for equal logs."""

from __future__ import annotations

from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

from imagekit.plan.factory_log import NOTHING, Kind, decode_log, encode_record
from imagekit.plan.factory_report import encode_report
from imagekit.testing.documents import signing_key

NOW = datetime(2026, 6, 1, 8, 30, tzinfo=UTC)
KEY = signing_key("brand")


def unit(serial: str, result: str = "done", problem: str | None = None) -> dict[str, Any]:
    return {"result": result, "problem": problem, "seconds": 84.2, "port": "A", "image": "abc",
            "began": "2026-06-01T08:30:00+00:00", "identity": {"serial": serial},
            "device": {"model": "Ultra <Fit>", "serial": "AA", "size": 1 << 35, "path": "/dev/sdb"}}


def log_raw() -> bytes:
    from imagekit.plan.factory_log import key_said

    records = [(Kind.START, {"operator": "Zoë <i>", "key": key_said(KEY.public),
                             "image": {"file": "pc.img", "size": 1 << 30, "digest": "abc",
                                       "about": "acme/pc revision 3"}}),
               (Kind.UNIT, unit("A0001")), (Kind.UNIT, unit("A0002", "failed", "zeros & ones <b>"))]
    raw = b""
    for number, (kind, said) in enumerate(records):
        previous = decode_log(raw, name="log").head if raw else NOTHING
        raw += encode_record(kind, said, number=number, previous=previous, station="line-1", key=KEY, now=NOW)
    return raw


class Cells(HTMLParser):
    """What stands in a document, and which elements it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_report_has_totals_units_image_and_the_end_of_the_chain() -> None:
    log = decode_log(log_raw(), name="factory.log")
    text = encode_report(log, name="factory.log", key="line-1").decode()
    found = Cells(text)
    for word in ("Station line-1", "A0001", "A0002", "zeros & ones <b>",
                 "2026-06-01 08:30:00 to 2026-06-01 08:30:00 UTC", "Ultra <Fit> AA 32 GiB", "1:24", log.head, "Zoë <i>",
                 log.records[-1].signature, "acme/pc revision 3", "abc"):
        assert any(word in item for item in found.words), word
    assert "b" in found.tags
    assert found.tags.count("b") == 5  # two counts, three times: none of them out of the log
    assert not {"script", "link", "img"} & set(found.tags)
    assert "http" not in text


def test_equal_logs_give_equal_reports_and_an_empty_one_says_so() -> None:
    log = decode_log(log_raw(), name="log")
    assert encode_report(log, name="log", key="k") == encode_report(log, name="log", key="k")
    assert b"The log is empty." in encode_report(decode_log(b"", name="log"), name="log", key="nobody")
