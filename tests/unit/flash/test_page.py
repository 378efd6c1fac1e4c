"""A station's page: what it answers, to whom, and that nothing can be done with it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from imagekit.errors import HostError
from imagekit.flash.page import Page
from imagekit.plan.factory_job import Port
from imagekit.plan.factory_page import page_state
from imagekit.plan.factory_tiles import State, Tile


def state() -> dict[str, Any]:
    tile = Tile(port=Port(name="</script><b>", usb="1-1.3"), state=State.DONE, serial="A0001", good=1)
    return page_state([tile], station="line-1", image="pc.img", left=7, why="")


@pytest.fixture
def page() -> Iterator[Page]:
    made = Page(state, port=0)
    yield made
    made.close()


def asked(page: Page, method: str, path: str, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    port = int(page.url.rstrip("/").rpartition(":")[2])
    line = http.client.HTTPConnection("127.0.0.1", port)
    line.request(method, path, headers=headers)
    answer = line.getresponse()
    content = answer.read()
    line.close()
    return answer.status, answer.headers, content


def test_page_shows_the_state_and_lets_no_name_become_markup(page: Page) -> None:
    status, headers, content = asked(page, "GET", "/")
    assert status == 200
    assert b"</script><b>" not in content
    assert b'"\\u003c/script>\\u003cb>"' in content
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy


def test_state_is_json_for_programs(page: Page) -> None:
    status, headers, content = asked(page, "GET", "/state.json")
    found = json.loads(content)
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert (found["good"], found["left"], found["tiles"][0]["state"]) == (1, 7, "done")


def test_head_has_no_content_and_nothing_else_is_there(page: Page) -> None:
    assert asked(page, "HEAD", "/")[::2] == (200, b"")
    assert asked(page, "GET", "/factory.log")[0] == 404
    assert asked(page, "GET", "/../etc/passwd")[0] == 404
    assert asked(page, "POST", "/")[0] == 501


def test_page_of_another_site_that_gives_its_name_this_address_is_not_answered(page: Page) -> None:
    assert asked(page, "GET", "/state.json", Host="evil.example.com")[::2] == (403, b"")
    assert asked(page, "GET", "/state.json", Host="localhost:1")[0] == 200


def test_taken_port_is_told(page: Page) -> None:
    with pytest.raises(HostError, match="cannot show the station at 127"):
        Page(state, port=int(page.url.rstrip("/").rpartition(":")[2]))
