"""One user who asks all the while, on a new connection for each request."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from harness.client import Connection


@contextmanager
def asking(port: int, user: str) -> Iterator[Counter]:
    """Counts which statuses came back (0: no answer at all) until the `with` ends."""
    seen: Counter = Counter()
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                with Connection(port) as client:
                    seen[client.get("/", user).status] += 1
            except OSError:
                seen[0] += 1

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()
