"""A service whose responses do not end: server-sent events, a response that does not begin, and a WebSocket."""

import asyncio
import threading
from collections import Counter

from websockets.asyncio.server import ServerConnection, serve

from harness import ports

_EVERY_S = 0.01


class Live:
    """`/sse` sends an event every 10 ms, `/slow` answers nothing, `/ws` is a WebSocket that says the same and echoes."""

    def __init__(self):
        self.port, self.sockets = ports.free(), ports.free()
        self.open: Counter = Counter()  # by path: responses and connections that are open now
        self._loop = asyncio.new_event_loop()
        self._loop.run_until_complete(self._start())
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self._socket_server = await serve(self._talk, "127.0.0.1", self.sockets)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = None
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode(errors="replace")
            path = head.split(" ")[1].partition("?")[0]
            self.open[path] += 1
            if path == "/slow":
                await reader.read()
                return
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            while True:
                writer.write(b"9\r\ndata: x\n\n\r\n")
                await writer.drain()
                await asyncio.sleep(_EVERY_S)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open[path] -= path is not None
            writer.close()

    async def _talk(self, socket: ServerConnection) -> None:
        self.open["/ws"] += 1
        try:
            async for message in socket:
                await socket.send(message)
        finally:
            self.open["/ws"] -= 1

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._server.close()
        self._socket_server.close()
