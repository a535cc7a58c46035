"""Sends requests at the instants of a pattern, over keep-alive connections, whatever becomes of those before.

One request at a time on each connection, by HTTP/1.1 that is written and read here: what a library would do in between
would be a part of the figures. What does not get a connection or an answer is logged as such.
"""

import asyncio
import gc
import re
import time
from collections import deque
from collections.abc import Callable, Iterable

from bench.fleet_limits import patterns
from bench.fleet_limits.log import NO_ANSWER, Entry, Log

# To one node, at the same time.
CONNECTIONS_MAX = 96
_CONNECTIONS_AT_FIRST = 8
# Requests to one node that wait for a connection; what comes beyond gets no answer.
_WAITING_MAX = 10_000
_CONNECT_TIMEOUT_S = 1.0
_LAST_ANSWERS_S = 5.0
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Clock:
    """Seconds since the start, by a clock that never goes back."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        self._started = time.perf_counter()

    def now(self) -> float:
        return time.perf_counter() - self._started


class _Connection(asyncio.Protocol):
    """Keep-alive, with one request under way at most."""

    def __init__(self, node: "Node"):
        self._node = node
        self._transport: asyncio.Transport | None = None
        self._under_way: tuple[Entry, asyncio.Future | None] | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._node.is_made(self)

    def send(self, request: bytes, entry: Entry, done: asyncio.Future | None) -> None:
        self._under_way, self._received = (entry, done), b""
        entry.sent_s = self._node.now()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not found or len(body) < (int(length[1]) if length else 0):
            return
        self._over(int(head[9:12]))
        if b"\r\nconnection: close" in head.lower():
            self._transport.close()
        else:
            self._node.is_free(self)

    def _over(self, status: int) -> None:
        if self._under_way:
            (entry, done), self._under_way = self._under_way, None
            entry.answered_s, entry.status = self._node.now(), status
            _set(done)

    def connection_lost(self, _: Exception | None) -> None:
        self._over(NO_ANSWER)
        self._node.is_gone(self)

    def close(self) -> None:
        if self._transport:
            self._transport.abort()


class Node:
    """The connections to one Envoy."""

    def __init__(self, port: int, now: Callable[[], float]):
        self._port = port
        self.now = now
        self._all: set[_Connection] = set()
        self._free: deque[_Connection] = deque()
        self._waiting: deque[tuple[bytes, Entry, asyncio.Future | None]] = deque()
        self._connecting: set[asyncio.Task] = set()

    async def open(self) -> None:
        """So that the first requests need not wait for connections."""
        await asyncio.gather(*(self._connect() for _ in range(_CONNECTIONS_AT_FIRST)))

    def send(self, request: bytes, entry: Entry, done: asyncio.Future | None = None) -> None:
        """As soon as a connection is free. `done` is set when the entry is complete."""
        if self._free:
            self._free.popleft().send(request, entry, done)
            return
        if len(self._waiting) >= _WAITING_MAX:
            self._unanswered(entry, done)
            return
        self._waiting.append((request, entry, done))
        if len(self._all) + len(self._connecting) < CONNECTIONS_MAX:
            task = asyncio.get_running_loop().create_task(self._connect())
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._port)
        except OSError:  # a timeout is one
            if not self._all:
                self._give_up_waiting()

    def is_made(self, connection: _Connection) -> None:
        self._all.add(connection)
        self.is_free(connection)

    def is_free(self, connection: _Connection) -> None:
        if self._waiting:
            connection.send(*self._waiting.popleft())
        else:
            self._free.append(connection)

    def is_gone(self, connection: _Connection) -> None:
        self._all.discard(connection)
        if connection in self._free:
            self._free.remove(connection)
        if not self._all:
            self._give_up_waiting()

    def _give_up_waiting(self) -> None:
        while self._waiting:
            _, entry, done = self._waiting.popleft()
            self._unanswered(entry, done)

    def _unanswered(self, entry: Entry, done: asyncio.Future | None) -> None:
        entry.sent_s = entry.answered_s = self.now()
        _set(done)

    async def close(self) -> None:
        for task in self._connecting:
            task.cancel()
        for connection in list(self._all):
            connection.close()
        await asyncio.sleep(0)


def _set(done: asyncio.Future | None) -> None:
    if done and not done.done():
        done.set_result(None)


class Client:
    """Knows how to reach each node, and the clock that all instants are of."""

    def __init__(self, ports: Iterable[int]):
        self.clock = Clock()
        self.nodes = [Node(port, self.clock.now) for port in ports]

    async def __aenter__(self) -> "Client":
        await asyncio.gather(*(node.open() for node in self.nodes))
        self.clock.start()
        return self

    async def __aexit__(self, *_) -> None:
        await asyncio.gather(*(node.close() for node in self.nodes))

    async def play(self, requests: list[patterns.Request], head: "Head") -> Log:
        """Sends all of them, and waits for the answers."""
        log = [Entry(request.at_s, request.node, request.user) for request in requests]
        gc.collect()
        gc.disable()
        try:
            await self._send_all(log, head)
            await self._last_answers(log)
        finally:
            gc.enable()
        return log

    async def _send_all(self, log: Log, head: "Head") -> None:
        at = 0
        while at < len(log):
            now = self.clock.now()
            while at < len(log) and log[at].due_s <= now:
                entry = log[at]
                self.nodes[entry.node].send(head.of(entry.user), entry)
                at += 1
            if at < len(log):
                await asyncio.sleep(max(0.0, log[at].due_s - self.clock.now()))

    async def _last_answers(self, log: Log) -> None:
        until = self.clock.now() + _LAST_ANSWERS_S
        while self.clock.now() < until and any(entry.answered_s == 0 for entry in log):
            await asyncio.sleep(0.01)
        for entry in log:
            entry.answered_s = entry.answered_s or self.clock.now()

    async def ask(self, node: int, request: bytes) -> Entry:
        """One request beside those of the pattern."""
        entry = Entry(self.clock.now(), node, 0)
        done = asyncio.get_running_loop().create_future()
        self.nodes[node].send(request, entry, done)
        await done
        return entry


class Head:
    """The requests themselves, made once for each user."""

    def __init__(self, prefix: str, path: str = "/"):
        self._prefix, self._path = prefix, path
        self._made: dict[int, bytes] = {}

    def of(self, user: int) -> bytes:
        if user not in self._made:
            self._made[user] = request(self._path, f"x-user-id: {self._prefix}-{user}")
        return self._made[user]


def request(path: str, *lines: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "host: fleet", *lines, "", ""]).encode()
