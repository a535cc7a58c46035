"""What else goes on while a block is on its way: other users' events, other clients' requests."""

import itertools
import json
import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor

from bench import load, machine, rows
from bench.edge import Edge
from bench.probe import Publisher
from harness import events
from harness.proc import die_with_us, wait_until
from harness.redis_server import Redis

# Other users than those that are measured, each of them again and again.
_USERS = 5_000
_LIMIT = {"name": "per-user", "max_tokens": 9, "tokens_per_fill": 9, "fill_interval": "1s"}
_CONNECTIONS = 64
_UNDER_WAY_S = 0.3


class Events:
    """Blocks, overrides and unblocks at a steady rate, from a process of its own."""

    def __init__(self, redis: Redis, per_second: int):
        # A copy of this process: a thread would take turns with the client that measures.
        context = multiprocessing.get_context("fork")
        self._published = context.Value("Q", 0)
        arguments = (redis, per_second, self._published)
        self._process = context.Process(target=_publish, args=arguments, daemon=True)
        self._process.start()
        self._started = time.monotonic()
        enough = per_second * _UNDER_WAY_S
        wait_until(lambda: self.published >= enough, "the first events to be published")

    @property
    def published(self) -> int:
        return self._published.value

    @property
    def per_second(self) -> float:
        """So far."""
        return self.published / (time.monotonic() - self._started)

    def close(self) -> None:
        self._process.kill()
        self._process.join()


def _publish(redis: Redis, per_second: int, published) -> None:
    die_with_us()
    publisher = Publisher(redis)
    start = time.monotonic()
    for number in itertools.count():
        time.sleep(max(0.0, start + number / per_second - time.monotonic()))
        publisher.publish(json.dumps(_event(number)).encode())
        publisher.wait()
        published.value = number + 1


def _event(number: int) -> dict:
    user = load.user_id(number // 3 % _USERS, "other")
    kind = number % 3
    if kind == 0:
        return events.event("block", user, reason="bench")
    if kind == 1:
        return events.event("override", user, limit=_LIMIT)
    return events.event("unblock", user, reason="bench")


class Requests:
    """As many requests as all workers of an Envoy can take."""

    def __init__(self, edge: Edge, seconds: float):
        self._pid = edge.process.pid
        self._pool = ThreadPoolExecutor(1)
        what = load.users(rows.USERS, connections=_CONNECTIONS)
        self._running = self._pool.submit(load.run, edge.port, what, seconds)
        before = machine.worker_cpu_ns(self._pid)
        busy = _UNDER_WAY_S * 1e9 / 2
        wait_until(lambda: machine.worker_cpu_ns(self._pid) - before > busy, "busy workers")
        self._since, self._cpu_ns = time.monotonic(), machine.worker_cpu_ns(self._pid)

    def busy(self) -> float:
        """How much of the time since the start the worker was running."""
        used = machine.worker_cpu_ns(self._pid) - self._cpu_ns
        return used / 1e9 / (time.monotonic() - self._since)

    def close(self) -> load.Run:
        with self._pool:
            return self._running.result()
