"""A link that can be cut: forwards connections, hangs up on them, leaves them without a word, or takes
its time."""

import asyncio
import contextlib
import random

_CHUNK = 65536


class Link:
    """From one address to another; an address is a TCP port on loopback or a Unix socket's path."""

    def __init__(self, near: int | str, far: int | str):
        self.near, self.far = near, far
        self._open = asyncio.Event()
        self._open.set()
        self._refusing = False
        self._delay_s: tuple[float, float] | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task] = set()

    async def start(self) -> None:
        if isinstance(self.near, int):
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.near)
        else:
            self._server = await asyncio.start_unix_server(self._accept, self.near)

    def cut(self) -> None:
        """Connections are reset, and new ones at once."""
        self._refusing = True
        for writer in list(self._writers):
            writer.transport.abort()

    def silence(self) -> None:
        """Nothing comes through any more, and nothing says so: a network that is gone.

        What was sent meanwhile arrives late, as it does when such a network is back.
        """
        self._open.clear()

    def slow(self, delay_s: tuple[float, float]) -> None:
        """Each chunk, in either direction, is late by some time between these, and none overtakes another."""
        self._delay_s = delay_s

    def switch(self, far: int | str) -> None:
        """Leads elsewhere from now on; connections are reset, as when an address moves to another host."""
        self.far = far
        self.cut()
        self.heal()

    def heal(self) -> None:
        self._refusing = False
        self._delay_s = None
        self._open.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        ends = [writer]
        try:
            await self._open.wait()
            if self._refusing:
                return
            if isinstance(self.far, int):
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.far)
            else:
                far_reader, far_writer = await asyncio.open_unix_connection(self.far)
            self._writers.add(far_writer)
            ends.append(far_writer)
            back = asyncio.create_task(self._pump(far_reader, writer))
            self._tasks.add(back)
            back.add_done_callback(self._tasks.discard)
            await self._pump(reader, far_writer)
            await back
        except OSError:
            pass
        finally:
            for end in ends:
                end.transport.abort()
                self._writers.discard(end)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                await self._open.wait()
                if self._delay_s:
                    await asyncio.sleep(random.uniform(*self._delay_s))
                writer.write(chunk)
                await writer.drain()
        # Either end hanging up ends both: neither Redis nor Envoy half-closes.
        writer.close()

    def close(self) -> None:
        self.heal()
        self.cut()
        self._server.close()
