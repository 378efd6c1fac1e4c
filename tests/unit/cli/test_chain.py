"""The tree of a report as text."""

from __future__ import annotations

from pathlib import Path

from imagekit.assertions import encode_stream
from imagekit.assertions.signing import sign_account, sign_account_key
from imagekit.build.verify import examine
from imagekit.cli.chain import lines_of, nodes_of
from imagekit.testing.documents import NOW, SIGNED, SINCE, Brand, signing_key


def test_two_roots_are_two_trees_and_causes_follow(tmp_path: Path) -> None:
    acme, store = Brand(), Brand("store")
    stranger = Brand("stranger")
    path = tmp_path / "all.assert"
    path.write_bytes(encode_stream((acme.model(), store.model(), stranger.model())))
    report = examine([path], (*acme.roots, *store.roots), now=NOW)
    lines = list(lines_of(nodes_of(report), encoding="utf-8"))
    assert [line.partition(" of ")[2].partition(",")[0] for line in lines[::2][:2]] == ["acme (root)", "store (root)"]
    assert lines[4].startswith("unknown key: ") and lines[5].startswith("└── model 16/stranger/pc, revision 0: unknown")


def test_key_with_an_end_shows_its_whole_validity_and_documents_hang_below_it(tmp_path: Path) -> None:
    store, brand = Brand("store"), signing_key("brand")
    vouched = (sign_account("acme", authority_id="store", key=store.key, timestamp=SIGNED),
               sign_account_key(brand.public, account_id="acme", authority_id="store", name="one", since=SINCE,
                                until=NOW.replace(year=2027), key=store.key))
    path = tmp_path / "all.assert"
    path.write_bytes(encode_stream((Brand().model(), *vouched)))
    lines = list(lines_of(nodes_of(examine([path], store.roots, now=NOW)), encoding="ascii"))
    assert lines[1].endswith("(one), revision 0, since 2025-01-01T00:00:00Z until 2027-06-01T00:00:00Z: verified"
                             f" ({path})")
    assert lines[2] == f"|   `-- model 16/acme/pc, revision 0: verified ({path})"
    assert lines[3] == f"`-- account acme, revision 0: verified ({path})"
