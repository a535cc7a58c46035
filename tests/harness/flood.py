"""A flood of events into Redis, from a process of its own: bare, or by the script in pipelines."""

import multiprocessing
import socket
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import redis

from harness import artifacts, events
from harness.proc import die_with_us
from harness.redis_server import Redis

# Events that are sent before their answers are read.
_AT_ONCE = 200
_SCRIPT = "invalidator/redis/publish.lua"
_TEMPLATE = (
    b'{"event_id":"%s","event_type":"risk.block","schema_version":"1.0","occurred_at":"%s",'
    b'"key":{"user_id":"%s"},"payload":{"action":"%s","reason":"flood"}}'
)


@dataclass(frozen=True)
class Plan:
    """`actions` of each user in turn; without a rate, as fast as Redis takes them."""

    way: str  # bare, script
    count: int
    users: int
    actions: tuple[bytes, ...] = (b"block",)
    per_second: float | None = None


class Flood:
    """Runs until all is published, or it is closed."""

    def __init__(self, redis_server: Redis, plan: Plan):
        self.plan = plan
        context = multiprocessing.get_context("fork")
        self._published = context.Value("Q", 0)
        self._seconds = context.Value("d", 0.0)
        arguments = (redis_server.port, plan, self._published, self._seconds)
        self._process = context.Process(target=_run, args=arguments, daemon=True)
        self._process.start()

    @property
    def is_over(self) -> bool:
        return not self._process.is_alive()

    @property
    def published(self) -> int:
        return self._published.value

    @property
    def per_second(self) -> float:
        """That was reached so far."""
        return self.published / max(self._seconds.value, 0.001)

    def close(self) -> None:
        self._process.kill()
        self._process.join()


def _run(port: int, plan: Plan, published, seconds) -> None:
    die_with_us()
    head = b""
    if plan.way == "script":
        source = (artifacts.REPOSITORY / Path(_SCRIPT)).read_text()
        head = redis.Redis(port=port).script_load(source).encode()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        started = time.monotonic()
        for first in range(0, plan.count, _AT_ONCE):
            if plan.per_second:
                time.sleep(max(0.0, started + first / plan.per_second - time.monotonic()))
            last = min(first + _AT_ONCE, plan.count)
            stamp = events.timestamp(time.time_ns() // 1_000_000).encode()
            commands = [_command(plan, head, number, stamp) for number in range(first, last)]
            connection.sendall(b"".join(commands))
            _read(connection, last - first, plan.way)
            published.value = last
            seconds.value = time.monotonic() - started


def _command(plan: Plan, sha: bytes, number: int, stamp: bytes) -> bytes:
    user = b"crowd-%d" % (number % plan.users)
    action = plan.actions[number // plan.users % len(plan.actions)]
    event_id = uuid.uuid4().hex.encode()
    event = _TEMPLATE % (event_id, stamp, user, action)
    channel = Redis.CHANNEL.encode()
    if plan.way == "bare":
        return _packed(b"PUBLISH", channel, event)
    keys = [b"{portcullis}:" + key for key in (b"state:user:" + user, b"subjects", b"stream", b"digest")]
    content = [channel, b"user:" + user, event_id, event, b"100000", b"256"]
    return _packed(b"EVALSHA", sha, b"4", *keys, *content)


def _packed(*parts: bytes) -> bytes:
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def _read(connection: socket.socket, count: int, way: str) -> None:
    """So many answers: a number each, or an array of two bulk strings, which is five lines."""
    lines = count * (1 if way == "bare" else 5)
    while lines > 0:
        answer = connection.recv(1 << 20)
        assert answer and not answer.startswith(b"-"), answer[:200]
        lines -= answer.count(b"\n")
