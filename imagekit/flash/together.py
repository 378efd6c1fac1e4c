"""Do something for every range of an image, on this thread and on helpers.

Reading and hashing take turns on one thread; two threads keep both the medium and a processor busy.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable


def each(items: Iterable[int], work: Callable[[int], None], *, helpers: int) -> None:
    """Call `work` once for every item. The first exception ends it all, and is raised here.

    Helpers are daemons: one that hangs on a medium does not keep the program from ending.
    """
    ahead, lock = iter(list(items)), threading.Lock()
    errors: list[BaseException] = []

    def loop() -> None:
        while not errors:
            with lock:
                item = next(ahead, None)
            if item is None:
                return
            try:
                work(item)
            except BaseException as error:
                errors.append(error)

    threads = [threading.Thread(target=loop, name="helper", daemon=True) for _ in range(helpers)]
    for thread in threads:
        thread.start()
    loop()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
