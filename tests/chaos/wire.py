"""HTTP/1.1 as little as needed: a keep-alive client, and the upstream that tells who got through."""

import asyncio
import contextlib
from collections.abc import Callable

_LIMIT = 1 << 20


class Client:
    """One keep-alive connection, to a TCP port on loopback. One request at a time."""

    def __init__(self, port: int, timeout_s: float):
        self._port = port
        self._timeout_s = timeout_s
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def request(self, method: str, path: str, headers: str = "", body: bytes = b""):
        """Status and body. Raises OSError, TimeoutError or EOFError; the connection is gone then.

        `headers` are whole lines.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._exchange(method, path, headers, body)
        except BaseException:
            self.close()
            raise

    async def _exchange(self, method: str, path: str, headers: str, body: bytes):
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=_LIMIT)
        head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n{headers}"
        self._writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        answer, length = await read_head(self._reader)
        return int(answer.split(" ", 2)[1]), await self._reader.readexactly(length)

    def close(self) -> None:
        if self._writer:
            self._writer.transport.abort()
        self._reader = self._writer = None


async def read_head(reader: asyncio.StreamReader) -> tuple[str, int]:
    """The head and the length of the body that follows it."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    return head, int(header(head, "content-length") or 0)


def header(head: str, name: str) -> str | None:
    """The value of a header; `head` is in lower case."""
    _, found, rest = head.partition(f"\r\n{name}:")
    return rest.partition("\r\n")[0].strip() if found else None


class Upstream:
    """Calls back with the `x-request` number of each request that reaches it, at that moment."""

    def __init__(self, port: int, arrived: Callable[[int], None]):
        self.port = port
        self._arrived = arrived

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                head, length = await read_head(reader)
                if number := header(head, "x-request"):
                    self._arrived(int(number))
                await reader.readexactly(length)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    def close(self) -> None:
        self._server.close()
