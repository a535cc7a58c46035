"""A service whose responses do not end: server-sent events, a response that does not begin, and a WebSocket."""

import asyncio
import threading
from collections import Counter

from websockets.asyncio.server import ServerConnection, serve

from harness import ports

_EVERY_S = 0.01
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_EVENT = b"9\r\ndata: x\n\n\r\n"


class Live:
    """Every path but `/slow` sends an event each 10 ms for as long as somebody listens; `/slow` answers nothing.
    `sockets` is the port of a WebSocket that sends back what it gets."""

    def __init__(self):
        self.port, self.sockets = ports.free(), ports.free()
        self.open: Counter = Counter()  # by user: what is open now
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait(10)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._stream, "127.0.0.1", self.port)
        async with server, serve(self._talk, "127.0.0.1", self.sockets):
            self._ready.set()
            await self._stop.wait()

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        user = None
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode(errors="replace").split("\r\n")
            headers = dict(line.split(": ", 1) for line in head[1:-2])
            user = headers.get("x-user-id")
            self.open[user] += 1
            if head[0].split(" ")[1].startswith("/slow"):
                await reader.read()
                return
            writer.write(_HEAD)
            while not reader.at_eof():
                writer.write(_EVENT)
                await writer.drain()
                await asyncio.sleep(_EVERY_S)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            if user:
                self.open[user] -= 1
            writer.close()

    async def _talk(self, socket: ServerConnection) -> None:
        user = socket.request.headers.get("x-user-id")
        self.open[user] += 1
        try:
            async for message in socket:
                await socket.send(message)
        finally:
            self.open[user] -= 1

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
