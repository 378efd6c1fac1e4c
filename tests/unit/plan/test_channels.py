"""Channels as they are written, and where a device looks next."""

from __future__ import annotations

import pytest

from imagekit.errors import DocumentError
from imagekit.plan.channels import parse_channel


@pytest.mark.parametrize(("text", "channel"), [
    ("edge", "latest/edge"), ("2.0", "2.0/stable"), ("latest/candidate", "latest/candidate"),
    ("2.0/beta", "2.0/beta"), ("stable/security", "latest/stable/security"), ("2.0/stable/fix-7", "2.0/stable/fix-7")])
def test_what_is_left_out_is_latest_and_stable(text: str, channel: str) -> None:
    assert str(parse_channel(text)) == channel
    assert parse_channel(channel) == parse_channel(text)


@pytest.mark.parametrize("text", ["", "/", "a/b", "edge/x/y", "latest/edge/x/y", "-a", "a b", "latest/Stable",
                                  "a/edge/", "x" * 41])
def test_what_is_no_channel_is_refused(text: str) -> None:
    with pytest.raises(DocumentError, match="cannot read channel"):
        parse_channel(text)


def test_a_device_looks_at_steadier_channels_only() -> None:
    assert [str(item) for item in parse_channel("beta").followed] == [
        "latest/beta", "latest/candidate", "latest/stable"]
    assert [str(item) for item in parse_channel("2/candidate/fix").followed] == [
        "2/candidate/fix", "2/candidate", "2/stable"]
    assert [str(item) for item in parse_channel("stable").followed] == ["latest/stable"]
