"""A brand with a store, and an image whose devices ask it: everything made by the program, as a user would."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from imagekit.qemu.machine import HOST_ADDRESS
from imagekit.store.metadata import PUBLIC
from imagekit.store.serve import make_server
from tests.boot.stock import ROOT, Stock, done

STORE = "acme-store"


@dataclass(kw_only=True)
class Fleet:
    """The store, and the image that asks it at port `port` of this host."""

    stock: Stock
    store: Path
    image: Path
    port: int

    def publish(self, package: Path) -> None:
        """To everybody, with a delta from what runs."""
        of = {"data": self.stock.data}
        done("store", "publish", package, "--channel", "stable", "-s", self.store, "--trust", self.stock.trust, **of)
        done("store", "delta", self.stock.board.base, "-s", self.store, **of)


@contextmanager
def fleet_of(stock: Stock, folder: Path) -> Iterator[Fleet]:
    """Make the store and the image, and serve the one as long as the context is."""
    store, image = folder / "store", folder / "out"
    board, of = stock.board, {"data": stock.data}
    done("store", "init", store, "--name", STORE, **of)
    done("store", "publisher", "add", "acme", "--package", board.kernel, "--package", board.base, "--key",
         f"{STORE}-online", "-s", store, "--trust", stock.trust, **of)
    done("store", "publish", stock.base, stock.kernel, "--channel", "stable", "-s", store, "--trust", stock.trust, **of)
    server = make_server(store / PUBLIC, host="127.0.0.1", port=0, told=lambda _: None)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        port = int(server.server_address[1])
        said, signed = folder / f"{STORE}.yaml", folder / f"{STORE}.store"
        done("store", "describe", f"http://{HOST_ADDRESS}:{port}/", "-s", store, "-o", said, **of)
        done("sign", said, "-k", "acme", "-o", signed, "--trust", stock.trust, **of)
        draft, model = folder / f"{board.model}.yaml", folder / f"{board.model}.model"
        draft.write_text((ROOT / f"models/{board.model}.yaml").read_text() + f"store: {STORE}\n")
        done("sign", draft, "-k", "acme", "-o", model, "--trust", stock.trust, **of)
        done("build", model, "--packages", stock.packages, "--packages", folder, "-o", image, "--trust", stock.trust,
             **of)
        yield Fleet(stock=stock, store=store, image=image / f"{board.model}.img", port=port)
    finally:
        server.shutdown()
        server.server_close()
