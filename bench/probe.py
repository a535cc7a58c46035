"""A client that does nothing but ask, and one that does nothing but publish.

Both write to a socket themselves: what a library would do in between would be part of the figure.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from harness.redis_server import Redis

_TIMEOUT_S = 10
_BUFFER_BYTES = 64 * 1024


def _connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


class Probe:
    """One connection to one Envoy."""

    def __init__(self, port: int):
        self._socket = _connect(port)
        self._unread = b""

    def ask(self, user: str) -> None:
        self._socket.sendall(_request(user))

    def status(self) -> int:
        """Of the next answer."""
        head, _, body = self._until_head().partition(b"\r\n\r\n")
        missing = _length(head) - len(body)
        while missing > 0:
            body += self._receive()
            missing = _length(head) - len(body)
        self._unread = body[_length(head) :]
        return int(head[9:12])

    def status_of(self, user: str) -> int:
        self.ask(user)
        return self.status()

    def _until_head(self) -> bytes:
        answer = self._unread
        while b"\r\n\r\n" not in answer:
            answer += self._receive()
        return answer

    def _receive(self) -> bytes:
        received = self._socket.recv(_BUFFER_BYTES)
        if not received:
            raise ConnectionError("Envoy hung up")
        return received

    def close(self) -> None:
        self._socket.close()


def _request(user: str) -> bytes:
    return f"GET / HTTP/1.1\r\nhost: bench\r\nx-user-id: {user}\r\n\r\n".encode()


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


class Publisher:
    """Publishes by a connection of its own, as a risk engine would."""

    def __init__(self, redis: Redis, channel: str = Redis.CHANNEL):
        self._socket = _connect(redis.port)
        self._channel = channel

    def publish(self, message: bytes) -> None:
        self._socket.sendall(_command(b"PUBLISH", self._channel.encode(), message))

    def wait(self) -> None:
        """Until Redis has answered."""
        self._socket.recv(_BUFFER_BYTES)

    def close(self) -> None:
        self._socket.close()


@contextmanager
def subscribed(redis: Redis, channel: str) -> Iterator[socket.socket]:
    """A bare subscriber."""
    with _connect(redis.port) as subscriber:
        subscriber.sendall(_command(b"SUBSCRIBE", channel.encode()))
        subscriber.recv(_BUFFER_BYTES)
        yield subscriber


def _command(*parts: bytes) -> bytes:
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)
