"""The service behind the gate: echoes each request as JSON and counts what got through."""

import asyncio
import json
import threading
from collections import Counter

from harness import ports


class Upstream:
    def __init__(self):
        self.port = ports.free()
        self.seen: Counter = Counter()  # user id (or None) -> requests
        self.last_path: str | None = None  # of the latest request
        self.redirects: dict[str, str] = {}  # path -> where it says to go instead
        self._loop = asyncio.new_event_loop()
        server = asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self._server = self._loop.run_until_complete(server)
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode(errors="replace").split("\r\n")
                method, path, _ = head[0].split(" ")
                headers = dict(line.split(": ", 1) for line in head[1:-2])
                body, trailers = await _body(reader, headers)
                self.seen[headers.get("x-user-id")] += 1
                self.last_path = path
                echo = {"method": method, "path": path, "headers": headers, "body": body.decode()}
                echo["trailers"] = trailers
                answer = json.dumps(echo).encode()
                status = b"200 OK"
                if to := self.redirects.get(path):
                    status = b"302 Found\r\nlocation: " + to.encode()
                writer.write(
                    b"HTTP/1.1 %s\r\ncontent-type: application/json\r\n"
                    b"content-length: %d\r\n\r\n" % (status, len(answer))
                )
                if method != "HEAD":
                    writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def total(self) -> int:
        return sum(self.seen.values())

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._server.close()


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> tuple[bytes, list[str]]:
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers.get("content-length", 0))), []
    body = b""
    while size := int(await reader.readline(), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    trailers = []
    while line := (await reader.readline()).strip():
        trailers.append(line.decode())
    return body, trailers
