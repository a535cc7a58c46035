"""Publishes blocks and unblocks at a steady rate, in every way there is, until each is answered for."""

import asyncio
import json
import random
import time
from collections.abc import Callable
from pathlib import Path

import redis.asyncio

from chaos.ledger import BLOCK, UNBLOCK, Event, Ledger, Request
from chaos.wire import Client
from chaos.world import World
from harness import artifacts, events
from harness.redis_server import Redis

# How long a daemon has for committing a bare PUBLISH that it has heard: a quarter of a second
# in which it may still turn up in the stream, and then the writing.
COMMIT_WINDOW_S = 1.0
# The share of each way of publishing.
_WAYS = {"script": 5, "api": 3, "fleet": 1, "bare": 1}
# Who publishes: the name, whether it numbers its events, and by how much its clock is wrong. Any of
# them has the last word about any user.
_PUBLISHERS = [("risk", True, 0), ("support", False, 60_000), ("desk", False, -3_000), (None, False, 0)]
# A repeat of what the user's newest event already says.
_REPEATED = 0.1
_UNANSWERED_MAX = 6_000
# What is newest is what was heard last. Of two events of one user that are under way at the same
# time either may be that, so the next one waits until the one before is answered for.
_PER_USER_MAX = 1
_TRIES = 20  # to find a user whose turn it may be
_RETRY_AFTER_S = 0.1
_API_TIMEOUT_S = 4.0
_AT_ONCE_MAX = 64
_STREAM_ENTRIES_MAX = 100_000
_EVENTS_PER_SUBJECT_MAX = 256


class Publisher:
    """`is_clean(parts, since)`: whether none of these parts may have made a daemon hear and write late
    since then; `is_in_order(parts, since)`: whether none may have made it hear in another order.

    `is_watched(user)`: whether the recovery of this user's newest event is being waited for: a
    newer one would hide that it was lost.
    """

    def __init__(
        self,
        world: World,
        ledger: Ledger,
        seed: int,
        rate: float,
        is_clean: Callable[[set[str], float], bool],
        is_in_order: Callable[[set[str], float], bool],
        is_watched: Callable[[str], bool],
    ):
        self._world, self._ledger, self._rate = world, ledger, rate
        self._is_clean, self._is_in_order, self._is_watched = is_clean, is_in_order, is_watched
        self._random = random.Random(seed)
        self._users = list(ledger.events)
        self._unanswered: dict[str, int] = dict.fromkeys(self._users, 0)
        self._tasks: set[asyncio.Task] = set()
        # Of each way of publishing: one that hangs holds up no other.
        self._slots = {via: asyncio.Semaphore(_AT_ONCE_MAX) for via in _WAYS}
        self._script = script().read_text()
        self._going = asyncio.Event()
        self._waiting = 0  # bare ones in their commit window
        self.retries = 0
        self.skipped = 0  # turns not taken, for too much was unanswered

    @property
    def is_quiet(self) -> bool:
        """Whether all but bare ones in their commit window are answered for."""
        return len(self._tasks) == self._waiting

    @property
    def is_done(self) -> bool:
        return not self._tasks

    def go(self) -> None:
        self._going.set()

    def pause(self) -> None:
        """No new events; what is unanswered goes on being published."""
        self._going.clear()

    async def run(self) -> None:
        due = time.monotonic()
        while True:
            await self._going.wait()
            due = max(due + 1 / self._rate, time.monotonic() - 0.1)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if self._going.is_set():
                self._take_turn()

    def _take_turn(self) -> None:
        if len(self._tasks) >= _UNANSWERED_MAX:
            self.skipped += 1
            return
        for _ in range(_TRIES):
            user = self._random.choice(self._users)
            if self._unanswered[user] < _PER_USER_MAX and not self._is_watched(user):
                break
        else:
            self.skipped += 1
            return
        self._unanswered[user] += 1
        task = asyncio.create_task(self._publish(user))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _publish(self, user: str) -> None:
        event, body = self._new_event(user)
        attempt = {
            "script": self._by_script,
            "api": self._by_api,
            "fleet": self._by_api,
            "bare": self._by_bare_publish,
        }
        try:
            while not await attempt[event.via](event, body):
                self.retries += 1
                await asyncio.sleep(_RETRY_AFTER_S)
        finally:
            self._unanswered[user] -= 1

    def _new_event(self, user: str) -> tuple[Event, bytes]:
        newest = self._ledger.events[user][-1:]
        is_blocked = bool(newest) and newest[0].action == BLOCK
        if newest and self._random.random() < _REPEATED:
            is_blocked = not is_blocked
        action = UNBLOCK if is_blocked else BLOCK
        name, numbered, ahead_ms = self._random.choice(_PUBLISHERS)
        now_ms = events.now_ms()
        raw = events.event(
            action,
            user,
            at_ms=now_ms + ahead_ms,
            sequence=now_ms if numbered else None,
            reason="chaos",
        )
        if name:
            raw["publisher"] = name
        via = self._random.choices(list(_WAYS), list(_WAYS.values()))[0]
        event = Event(raw["event_id"], user, action, via, time.monotonic())
        self._ledger.publish(event)
        return event, json.dumps(raw).encode()

    async def _by_script(self, event: Event, body: bytes) -> bool:
        subject = f"user:{event.user}"
        keys = [f"state:{subject}", "subjects", "stream", "digest"]
        keys = [f"{{portcullis}}:{key}" for key in keys]
        arguments = [Redis.CHANNEL, subject, event.event_id, body]
        arguments += [_STREAM_ENTRIES_MAX, _EVENTS_PER_SUBJECT_MAX]
        try:
            async with self._slots[event.via]:
                await self._world.client.eval(self._script, len(keys), *keys, *arguments)
        except (redis.RedisError, OSError):
            return False
        self._ledger.promise(event, time.monotonic())
        return True

    async def _by_api(self, event: Event, body: bytes) -> bool:
        side = self._random.choice(list(self._world.sides.values()))
        client = Client(side.daemon.port, _API_TIMEOUT_S)
        try:
            async with self._slots[event.via]:
                sent = time.monotonic()
                token = side.daemon.bearer("publisher")
                headers = f"content-type: application/json\r\nauthorization: {token}\r\n"
                path = "/v1/invalidations" + ("?wait=fleet" if event.via == "fleet" else "")
                status, answer = await client.request("POST", path, headers, body)
        except (OSError, EOFError, TimeoutError):
            return False
        finally:
            client.close()
        if status not in (200, 202):
            return False
        answered, answer = time.monotonic(), json.loads(answer)
        self._ledger.promise(event, answered)
        # A daemon that was stopped or cut off may hear what came before it only later.
        parts = {"redis", f"redis_link-{side.name}", f"daemon-{side.name}"}
        call = Request(side.node, event.user, sent, answered, status)
        if not answer["in_effect"]:
            if self._is_in_order(parts, event.published):
                self._ledger.denied(event, call)
        elif status == 200:
            self._ledger.receipt(event, [node["node"] for node in answer["nodes"]], answered)
        if (fleet := answer.get("fleet")) and answer["in_effect"]:
            nodes = [node["node"] for node in fleet["nodes"]]
            self._ledger.fleet(event, fleet["enforced_everywhere"], nodes, call)
        # Taken in and not yet enforced is a promise too: some rely on it, some ask again.
        return status == 200 or self._random.random() < 0.5

    async def _by_bare_publish(self, event: Event, body: bytes) -> bool:
        published = time.monotonic()
        try:
            async with self._slots[event.via]:
                heard = await self._world.client.publish(Redis.CHANNEL, body)
        except (redis.RedisError, OSError):
            return False
        self._waiting += 1
        await asyncio.sleep(COMMIT_WINDOW_S)
        self._waiting -= 1
        for side in self._world.sides:
            parts = {"redis", f"redis_link-{side}", f"daemon-{side}"}
            if heard and self._is_clean(parts, published):
                self._ledger.promise(event, time.monotonic())
                return True
        return False


def script() -> Path:
    """The script that risk engines are told to use."""
    return artifacts.REPOSITORY / "invalidator/redis/publish.lua"
