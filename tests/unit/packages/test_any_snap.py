"""Any sound snap.yaml keeps its values whatever its style, and any text at all is judged, not crashed on."""

from __future__ import annotations

import contextlib
import importlib.util
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagekit.errors import DocumentError
from imagekit.packages.duration import parse_duration
from imagekit.packages.snapyaml import encode_snap_yaml, read_snap_yaml

PATH = Path(__file__).parent.parent.parent / "strategies" / "snap.py"
_spec = importlib.util.spec_from_file_location("strategies_snap", PATH)
assert _spec is not None and _spec.loader is not None
snap = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(snap)

STYLES = st.fixed_dictionaries({"default_flow_style": st.sampled_from((None, True, False)),
                                "width": st.integers(20, 200), "allow_unicode": st.booleans(),
                                "sort_keys": st.booleans()})


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(tree=snap.documents(), style=STYLES)
def test_sound_document_keeps_its_values_in_any_style(tree: dict[str, Any], style: dict[str, Any]) -> None:
    text = yaml.safe_dump(tree, **style)
    info = read_snap_yaml(text.encode(), name="snap.yaml")
    assert (info.name, info.version, info.type, info.title, info.summary) == tuple(
        tree[key] for key in ("name", "version", "type", "title", "summary"))
    assert info.architectures == (tuple(tree["architectures"]) or ("all",))
    assert {app.name: (app.command, app.daemon, dict(app.environment)) for app in info.apps} == {
        name: (app["command"], app.get("daemon"), app["environment"]) for name, app in tree["apps"].items()}
    for app in info.apps:
        written = tree["apps"][app.name].get("stop-timeout")
        assert app.stop_timeout == (None if written is None else parse_duration(written))
    assert {plug.name for plug in info.plugs} == set(tree["plugs"])
    assert {layout.path: layout.source for layout in info.layouts} == {
        path: layout["bind"] for path, layout in tree["layout"].items()}
    epoch = tree["epoch"]
    wanted = epoch["read"] if isinstance(epoch, dict) else (
        [int(epoch[:-1]) - 1, int(epoch[:-1])] if isinstance(epoch, str) else [epoch])
    assert list(info.epoch.read) == wanted
    again = read_snap_yaml(encode_snap_yaml(info), name="snap.yaml")
    assert (again.name, again.version, again.summary, again.description, again.architectures) == (
        info.name, info.version, info.summary, info.description, info.architectures)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tree=snap.trees())
def test_any_tree_is_accepted_or_refused(tree: Any) -> None:
    with contextlib.suppress(DocumentError):
        read_snap_yaml(yaml.safe_dump(tree).encode(), name="snap.yaml")
