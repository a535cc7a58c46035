"""What is broken and asked: Redis, and twice a daemon with an Envoy of its own, with links between.

                    link                        link
Redis on the disk ───────── daemon a, its state ───── Envoy edge-a, 2 workers ── upstream
                  ───────── daemon b, its state ───── Envoy edge-b, 2 workers ──
"""

import asyncio
import contextlib
import hashlib
import json
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from chaos.limits import LANES, LIMIT
from chaos.proxy import Link
from chaos.wire import Client, Upstream
from harness import events, plugin, ports
from harness.daemon import Daemon
from harness.envoy import Envoy, Options
from harness.redis_server import Redis

# Of those who are asked for to learn of blocks, no request may meet a limit.
_ROOMY = {**plugin.PER_USER, "max_tokens": 1_000_000, "tokens_per_fill": 1_000_000}
# These hold for the fleet: a path each.
_OF_THE_FLEET = [
    {
        "name": lane,
        "key": "user",
        **LIMIT.bucket(),
        "match": [{"path": {"prefix": f"/{lane}"}}],
        "fleet": {"on_loss": lane},
    }
    for lane in LANES
]
_API_TIMEOUT_S = 1.0
_REDIS_TIMEOUT_S = 1.0
_FLEET_TIMEOUT_S = 4.0
# A script that has returned is on the disk: with `everysec` an answered write may still be lost.
_REDIS_OPTIONS = ["--appendonly", "yes", "--appendfsync", "always"]

# One daemon looks at all of Redis all the while, so that damage is found within a run. The other does
# not: what it has missed it must have noticed by itself.
_WATCHFUL = {"digest_interval": "1s", "sample_interval": "1s"}
# Before the user's id, of the key of his state.
STATE = "{portcullis}:state:user:"


async def until(
    condition: Callable[[], Awaitable[bool]], what: str, timeout_s: float, every_s: float = 0.02
) -> None:
    """Waits for it. An error in it counts as not yet."""
    deadline = time.monotonic() + timeout_s
    last: object = None
    while True:
        try:
            if await condition():
                return
        except (OSError, EOFError, TimeoutError, LookupError, ValueError) as error:
            last = error
        except redis.RedisError as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s} s for {what}; last seen: {last!r}")
        await asyncio.sleep(every_s)


def _limits(*, alone: bool) -> list[dict]:
    """`alone`: those of the fleet are the node's own."""
    own = [{name: one[name] for name in one if name != "fleet"} for one in _OF_THE_FLEET]
    return [_ROOMY, *(own if alone else _OF_THE_FLEET)]


class Side:
    """One daemon and its Envoy, in a directory of their own. `limits` are the Envoy's; `beside` are the ports of Redis
    and of the upstream."""

    def __init__(
        self, name: str, directory: Path, beside: tuple[int, int], looks: dict[str, str], limits: list[dict]
    ):
        redis_port, upstream_port = beside
        self.name = name
        self.node = f"edge-{name}"
        home = directory / name
        home.mkdir()
        self.redis_link = Link(ports.free(), redis_port)
        self.poll_link = Link(str(home / "link.sock"), str(home / "poll.sock"))
        url = f"redis://127.0.0.1:{self.redis_link.near}"
        settings = {"fleet": {"name": name}, "sources": {"redis": {"url": url, **looks}}}
        self.daemon = Daemon(home, settings=settings, start=False)
        options = Options(
            plugin=plugin.standard(
                node=self.node,
                limits=limits,
                invalidator={**plugin.INVALIDATOR, "stale_after": "3s"},
            ),
            upstream_port=upstream_port,
            poll_address=f"unix:{self.poll_link.near}",
        )
        self.envoy = Envoy(home, options, start=False)

    async def start(self) -> None:
        await self.redis_link.start()
        await self.poll_link.start()
        self.daemon.start(wait=False)
        self.envoy.start(wait=False)

    async def api(self, path: str) -> dict:
        """A good answer of the daemon's API."""
        client = Client(self.daemon.port, _API_TIMEOUT_S)
        try:
            headers = f"authorization: {self.daemon.bearer()}\r\n"
            status, body = await client.request("GET", path, headers)
        finally:
            client.close()
        if status != 200:
            raise ValueError(f"{path} answered {status}: {body[:200]!r}")
        return json.loads(body)

    async def hears_of_the_fleet(self) -> bool:
        """Whether its Envoy's reports are counted."""
        status = await self.api("/v1/status")
        if status["fleet_limits"]["ledger"] != "open":
            return False
        nodes = [node for node in status["nodes"] if node["connected"]]
        return len(nodes) == 1 and nodes[0]["fleet_limits"]["cut_off_ms"] is None

    async def everywhere(self) -> dict:
        """What the daemon says of the whole fleet, about a new block of nobody in particular."""
        client = Client(self.daemon.port, _FLEET_TIMEOUT_S)
        try:
            headers = f"content-type: application/json\r\nauthorization: {self.daemon.bearer()}\r\n"
            body = json.dumps(events.event("block", events.new_user())).encode()
            _, answer = await client.request("POST", "/v1/invalidations?wait=fleet", headers, body)
        finally:
            client.close()
        return json.loads(answer)["fleet"]

    async def is_in_step(self) -> bool:
        """Whether the daemon is connected to all, and its Envoy enforces what it knows."""
        await self.api("/readyz")
        status = await self.api("/v1/status")
        nodes = [node for node in status["nodes"] if node["connected"]]
        if len(nodes) != 1:
            return False
        node = nodes[0]
        return node["synced"] and node["applied"] == status["sequence"] and node["refused"] == 0

    def close(self) -> None:
        for part in (self.daemon, self.envoy):
            if part.process:
                part.process.resume()
                part.process.kill()
        self.redis_link.close()
        self.poll_link.close()


class World:
    """`alone`: the side whose Envoy counts by itself what the fleet's limits are about, if there is one."""

    def __init__(self, directory: Path, arrived: Callable[[int], None], seed: int, alone: str | None = None):
        self.upstream = Upstream(ports.free(), arrived)
        self.redis = Redis(directory, _REDIS_OPTIONS, start=False)
        self.random = random.Random(seed)  # for whom damage hits
        watchful = self.random.choice("ab")
        self.sides = {
            name: Side(
                name,
                directory,
                (self.redis.port, self.upstream.port),
                _WATCHFUL if name == watchful else {},
                _limits(alone=name == alone),
            )
            for name in "ab"
        }
        self._alone = alone
        self.client = redis.asyncio.Redis(
            port=self.redis.port,
            socket_timeout=_REDIS_TIMEOUT_S,
            socket_connect_timeout=_REDIS_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )

    @property
    def nodes(self) -> list[str]:
        return [side.node for side in self.sides.values()]

    async def start(self, timeout_s: float = 30.0) -> None:
        await self.upstream.start()
        self.redis.start(wait=False)
        await until(self.client.ping, "Redis to answer", timeout_s)
        for side in self.sides.values():
            await side.start()
        await until(self.is_in_step, "the parts to be in step", timeout_s)
        await until(self.hears_of_the_fleet, "the nodes to hear of the fleet", timeout_s)

    async def is_in_step(self) -> bool:
        """Whether all parts are connected, and each Envoy knows what its daemon does."""
        for side in self.sides.values():
            if not await side.is_in_step():
                return False
        return True

    async def hears_of_the_fleet(self) -> bool:
        """Whether the reports of each node are counted."""
        for name, side in self.sides.items():
            if name != self._alone and not await side.hears_of_the_fleet():
                raise ValueError(f"the node of daemon {name} is cut off from the fleet's buckets")
        return True

    async def knows_itself(self) -> bool:
        """Whether each daemon says that both Envoys enforce what it is told."""
        for side in self.sides.values():
            fleet = await side.everywhere()
            if not fleet["enforced_everywhere"]:
                raise ValueError(f"daemon {side.name} misses {fleet['missing']}")
        return True

    async def agrees(self, with_redis: bool) -> bool:
        """Whether, besides, the daemons know the same events, and Redis too.

        Redis may take some seconds longer to forget what newer events have overtaken.
        """
        digests = {}
        for name, side in self.sides.items():
            digest = (await side.api("/v1/status"))["digest"]
            digests[f"daemon {name}"] = (digest["count"], digest["sum"])
        if with_redis:
            stored, misplaced = await self._stored()
            digests["stored in Redis"] = digest_of(stored)
            in_redis = await self.client.hmget("{portcullis}:digest", "count", "sum")
            counted = tuple(int(number or 0) for number in in_redis)
            if counted != digest_of([*stored, *misplaced]):
                raise ValueError(f"Redis counts {counted}, and holds {len(stored)}, {len(misplaced)}")
        if len(set(digests.values())) > 1:
            raise ValueError(f"digests differ: {digests}")
        return await self.is_in_step()

    async def _stored(self) -> tuple[list[str], list[str]]:
        """What the digest is made of, of every event in the state of the user whom it is about, and of
        those that somebody has put into another's. Daemons leave the latter where they are."""
        keys = [key async for key in self.client.scan_iter(match=f"{STATE}*", count=1000)]
        async with self.client.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.hgetall(key)
            states = await pipeline.execute()
        stored, misplaced = [], []
        for key, fields in zip(keys, states, strict=True):
            user = key.decode().removeprefix(STATE)
            for event_id, kept in fields.items():
                event = json.loads(kept.partition(b" ")[2])
                mine = event["key"].get("user_id") == user
                (stored if mine else misplaced).append(f"user:{user}\n{event_id.decode()}")
        return stored, misplaced

    async def holds(self, events: dict[str, str]) -> bool:
        """Whether Redis holds an event of each user, given by its id."""
        async with self.client.pipeline(transaction=False) as pipeline:
            for user, event_id in events.items():
                pipeline.hexists(f"{STATE}{user}", event_id)
            found = await pipeline.execute()
        if lacking := [event for event, held in zip(events.items(), found, strict=True) if not held]:
            raise ValueError(f"Redis lacks {len(lacking)}, such as {lacking[:3]}")
        return True

    async def close(self) -> None:
        for side in self.sides.values():
            side.close()
        if self.redis.process:
            self.redis.process.resume()
            self.redis.process.kill()
        with contextlib.suppress(redis.RedisError):
            await self.client.aclose()
        self.upstream.close()


def digest_of(events: list[str]) -> tuple[int, int]:
    """Count and sum, as docs/reference/redis.md has it."""
    hashes = (hashlib.sha1(event.encode()).digest()[:6] for event in events)
    return len(events), sum(int.from_bytes(part) for part in hashes) % 2**48
