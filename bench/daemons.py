"""Daemons that are not there: many, each with connections of its own to a real Redis, on which it does what a real one
does that has nothing to do but to register and to answer fences.

    python -m bench.daemons REDIS_PORT FIRST COUNT PING_S DAEMONS

A daemon has three connections: one subscribes and pings, one waits for entries of the stream, one is for commands: it
registers, looks each PING_S, and looks and answers whenever something has come. Its one Envoy enforces everything at
once. One process does that for all of them without understanding more of what comes than it has to: what is measured
beside it should be Redis and the daemon that asks. Ends with its standard input.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

import redis

_SCRIPTS = Path(__file__).parent.parent / "invalidator/redis"
_STREAM, _DAEMONS = "{portcullis}:stream", "{portcullis}:daemons"
_LOOK_KEYS = ["{portcullis}:digest", _STREAM, "{portcullis}:subjects"]
_DAEMONS_MAX, _KEPT_MS = 4_096, 30_000
# As in `invalidator/src/fence/members.rs`.
_OFTEN_MAX, _EVERY_S_MAX = 250, 8.0


def _command(*words: str | bytes | int) -> bytes:
    out = [b"*%d\r\n" % len(words)]
    for word in words:
        text = word if isinstance(word, bytes) else str(word).encode()
        out.append(b"$%d\r\n%s\r\n" % (len(text), text))
    return b"".join(out)


class _Line(asyncio.Protocol):
    """A connection that hands on what comes, as it comes."""

    def __init__(self, take):
        self._take = take

    def connection_made(self, transport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._take(data)

    def send(self, data: bytes) -> None:
        self._transport.write(data)


class _Daemon:
    def __init__(self, number: int, shas: dict[str, str], ping_s: float):
        self.run = f"{number:032x}"
        self._name, self._ping_s = f"sim-{number:04}", ping_s
        self._shas, self._last, self._seen = shas, "0-0", b""
        self._look = _command("EVALSHA", shas["look"], 3, *_LOOK_KEYS)
        self._started = time.monotonic()
        self._envoy = {"node": f"edge-{number:04}", "boot_id": f"{number:032x}"}

    async def start(self, port: int) -> None:
        loop = asyncio.get_running_loop()

        async def line(take):
            return (await loop.create_connection(lambda: _Line(take), "127.0.0.1", port))[1]

        self._commands = await line(lambda data: None)
        self._channel = await line(lambda data: None)
        self._channel.send(_command("SUBSCRIBE", "portcullis.invalidations"))
        self._stream = await line(self._entries)
        self._follow()

    def _follow(self) -> None:
        block = round(self._ping_s * 1000)
        words = ["XREAD", "COUNT", 512, "BLOCK", block, "STREAMS", _STREAM, self._last]
        self._stream.send(_command(*words))

    def _entries(self, data: bytes) -> None:
        """Entries of the stream. Its last id is where to go on, and what is a fence is answered."""
        self._seen += data
        if not self._seen.endswith(b"\r\n"):
            return
        data, self._seen = self._seen, b""
        at = data.rfind(b"\r\n*") if data[:1] == b"*" and data[:3] != b"*-1" else -1
        if at >= 0:
            before = data.rfind(b"\r\n", 0, at)
            self._last = data[before + 2 : at].decode()
            # A real one looks whether something before it was cut off.
            self._commands.send(self._look)
        start = data.find(b"\r\nfence\r\n")
        while start >= 0:
            json_at = data.index(b"\r\n", start + 9) + 2
            self._answer(json.loads(data[json_at : data.index(b"\r\n", json_at)]))
            start = data.find(b"\r\nfence\r\n", json_at)
        self._follow()

    def _answer(self, fence: dict) -> None:
        nodes = [{**self._envoy, "state": "enforced"}]
        uptime = int(time.monotonic() - self._started)
        said = {"known": True, "in_effect": True, "settled": True, "uptime_s": uptime, "nodes": nodes}
        answers = [{"ask": at, "said": json.dumps(said)} for at in range(len(fence["asks"]))]
        reply = {"nonce": fence["nonce"], "run": self.run, "daemon": self._name, "answers": answers}
        key = f"{{portcullis}}:answers:{fence['to']}"
        self._commands.send(_command("RPUSH", key, json.dumps(reply)) + _command("PEXPIRE", key, _KEPT_MS))

    def register(self, every_s: float) -> None:
        envoy = {**self._envoy, "connected": True, "synced": True, "does": "enforces"}
        said = {
            "name": self._name,
            "version": "sim",
            "uptime_s": int(time.monotonic() - self._started),
            "every_ms": round(every_s * 1000),
            "envoys": [{**envoy, "lag": 0, "staleness_ms": 100}],
        }
        words = ["EVALSHA", self._shas["register"], 1, _DAEMONS, self.run, json.dumps(said), _DAEMONS_MAX]
        self._commands.send(_command(*words))

    def ping(self) -> None:
        self._channel.send(_command("PING"))
        self._commands.send(self._look)


async def _often(every_s: float, daemons: list[_Daemon], do) -> None:
    """Each of them once in this time, evenly."""
    start = time.monotonic()
    for number in range(sys.maxsize):
        due = start + number * every_s / len(daemons)
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        do(daemons[number % len(daemons)])


def scripts(client: redis.Redis) -> dict[str, str]:
    """The scripts that daemons run, by name: loaded."""
    text = {name: (_SCRIPTS / f"{name}.lua").read_text() for name in ("clock", "register", "look")}
    return {
        "register": client.script_load(text["clock"] + text["register"]),
        "look": client.script_load(text["look"]),
    }


async def _main(port: int, first: int, count: int, ping_s: float, of: int) -> None:
    shas = scripts(redis.Redis(port=port))
    daemons = [_Daemon(number, shas, ping_s) for number in range(first, first + count)]
    for daemon in daemons:
        await daemon.start(port)
        daemon.register(1.0)
    every_s = min(max(of / _OFTEN_MAX, 1.0), _EVERY_S_MAX)
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    tasks = [
        loop.create_task(_often(every_s, daemons, lambda daemon: daemon.register(every_s))),
        loop.create_task(_often(ping_s, daemons, _Daemon.ping)),
    ]
    await loop.run_in_executor(None, sys.stdin.read)
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(_main(*map(int, sys.argv[1:4]), float(sys.argv[4]), int(sys.argv[5])))
