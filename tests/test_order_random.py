"""Random events through every way in, with random faults between them: who was acknowledged last has the last word.

Each operation is over before the next one begins, so the order in real time is the order of events, and a
small model in this file says what is in effect. At the end both daemons, both Envoys and a third daemon that starts
with nothing are compared with it. `PORTCULLIS_ORDER_SECONDS` lets it run longer,
`PORTCULLIS_ORDER_SEED` repeats a story.
"""

import json
import os
import random
import shutil
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from harness.daemon import Daemon
from harness.events import event, new_user, now_ms
from harness.proc import wait_until
from harness.redis_server import Redis
from harness.stack import running
from test_order import in_step, links
from test_truth import script

SECONDS = float(os.environ.get("PORTCULLIS_ORDER_SECONDS", "25"))
SEED = os.environ.get("PORTCULLIS_ORDER_SEED")
USERS, STEPS = 8, 40
# Daemons that are in order hear an event within so long of each other, and do not tell which came first.
APART_S = 0.008
SCOPES = {"/": None, "/bet": "bet", "/deposit": "deposit"}
REASONS = ["fraud", "kyc", "cooling_off"]
# What publishers' clocks are off by.
PUBLISHERS = {None: 0, "risk": -200_000, "desk": 250_000, "compliance": 3_000}
EVENTS = 'portcullis_events_total{source="redis"'
RATE = {"max_tokens": 50, "tokens_per_fill": 50, "fill_interval": "60s"}


@dataclass
class Known:
    """An event as the model has it."""

    made: dict
    order: int
    topic: tuple
    lane: str | None
    number: int

    @property
    def is_lift(self) -> bool:
        return self.topic == ("everything",)

    @property
    def is_liftable(self) -> bool:
        return self.topic[0] in ("block", "zero")

    @property
    def holds(self) -> bool:
        payload = self.made["payload"]
        return payload["action"] in ("block", "zero") or "max_tokens" in payload.get("limit", {})

    @property
    def rank(self) -> tuple:
        return (self.number, self.order)


@dataclass
class Model:
    """What is in effect for one user: docs/explanation/order-of-events.md."""

    known: dict = field(default_factory=dict)
    ids: set = field(default_factory=set)

    def take(self, made: dict, order: int) -> None:
        if made["event_id"] in self.ids:
            return
        self.ids.add(made["event_id"])
        payload = made["payload"]
        match payload["action"]:
            case "zero":
                topic = ("zero",)
            case "override":
                topic = ("override", payload["limit"]["name"])
            case "unblock" if "reason" not in payload:
                topic = ("everything",)
            case _:
                topic = ("block", payload["reason"])
        number = made.get("sequence")
        lane = None if number is None else made.get("publisher", "")
        new = Known(made, order, topic, lane, number or 0)
        rivals = [self.known.get((topic, lane))]
        if new.is_liftable:
            rivals.append(self.known.get((("everything",), lane)))
        if any(rival and rival.rank > new.rank for rival in rivals):
            return
        if new.is_lift:
            over = [k for k, old in self.known.items() if old.is_liftable and old.lane == lane]
            for place in [k for k in over if self.known[k].rank < new.rank]:
                del self.known[place]
        self.known[topic, lane] = new

    def decider(self, topic: tuple) -> Known:
        speaks = [
            one
            for one in self.known.values()
            if one.topic == topic
            or (one.is_lift and topic[0] in ("block", "zero") and (topic, one.lane) not in self.known)
        ]
        return max(speaks, key=lambda one: one.order)

    def in_effect(self) -> list[dict]:
        topics = {one.topic for one in self.known.values()}
        deciders = [self.decider(topic) for topic in topics]
        return [one.made for one in deciders if one.holds]

    def ids_in_effect(self) -> list[str]:
        return sorted(made["event_id"] for made in self.in_effect())

    def status(self, path: str) -> int:
        effects = [made["payload"] for made in self.in_effect() if made["payload"]["action"] != "override"]
        covering = [one for one in effects if "scope" not in one or SCOPES[path] in one["scope"]]
        if any(one["action"] == "block" for one in covering):
            return 403
        return 429 if covering else 200


class World:
    """Two daemons with their Envoys on one Redis, each behind a link of its own."""

    def __init__(self, stacks, ends, redis: Redis, rng: random.Random):
        self.stacks, self.ends, self.redis, self.rng = stacks, ends, redis, rng
        self.users = {new_user(): Model() for _ in range(USERS)}
        self.sent: list[dict] = []
        self.numbers = dict.fromkeys(PUBLISHERS, 0)
        self.order = 0
        # What is wrong with each daemon now.
        self.down: list[str | None] = [None, None]
        self.story: list[str] = []

    def tell(self, text: str) -> None:
        self.story.append(f"{time.time():.4f} {text}")

    def make(self) -> dict:
        rng, user = self.rng, self.rng.choice(list(self.users))
        payload: dict = {}
        action = rng.choice(["block"] * 4 + ["unblock"] * 4 + ["zero", "override"])
        if action == "block":
            payload["reason"] = rng.choice(REASONS)
        if action == "unblock" and rng.random() < 0.6:
            payload["reason"] = rng.choice(REASONS)
        if action in ("block", "zero") and rng.random() < 0.4:
            payload["scope"] = [rng.choice(["bet", "deposit"])]
        if action == "zero":
            payload["until"] = "2099-01-01T00:00:00Z"
        if action == "override":
            rate = {"default": True} if rng.random() < 0.3 else RATE
            payload["limit"] = {"name": "per-user", **rate}
        if action == "block" and rng.random() < 0.2:
            payload["duration"] = "2h"
        publisher = rng.choice(list(PUBLISHERS))
        made = event(action, user, at_ms=now_ms() + PUBLISHERS[publisher], **payload)
        if publisher:
            made["publisher"] = publisher
        if publisher in ("risk", "desk") or rng.random() < 0.1:
            self.numbers[publisher] += 1
            late = rng.random() < 0.15 and self.numbers[publisher] > 3
            made["sequence"] = self.numbers[publisher] - (3 if late else 0)
        return made

    def ways(self) -> list[str]:
        """Which ways an event may take now and be acknowledged by somebody."""
        ways = ["script"]
        for number, down in enumerate(self.down):
            if down is None:
                ways += [f"api {number}"] * 2
            if down == "silent":
                ways.append(f"api {number}")
        if None in self.down:
            ways += ["bare", "bare"]
        return ways

    def send(self, made: dict, way: str) -> None:
        user = made["key"]["user_id"]
        self.tell(f"{way}: {json.dumps(made)}")
        match way.split():
            case ["script"]:
                script(self.stacks[0], made, user)
            case ["bare"]:
                hearing = [n for n, down in enumerate(self.down) if down is None]
                before = [self.heard(number) for number in hearing]
                assert self.redis.publish(made) > 0
                # It is acknowledged by nobody: over it is once a daemon has heard it.
                heard = lambda: any(self.heard(n) > b for n, b in zip(hearing, before, strict=True))  # noqa: E731
                wait_until(heard, "somebody to hear it", every_s=0.002)
            case ["api", number]:
                answer = self.stacks[int(number)].daemon.post(made)
                assert answer.status in (200, 202), answer
                self.tell(f"  {answer.body.decode()}")
        time.sleep(APART_S)

    def heard(self, number: int) -> float:
        """How many events a daemon has taken in, or known, from Redis."""
        metrics = self.stacks[number].daemon.metrics()
        return sum(count for name, count in metrics.items() if name.startswith(EVENTS))

    def act(self) -> None:
        way = self.rng.choice(self.ways())
        if self.sent and self.rng.random() < 0.15:
            made = self.rng.choice(self.sent[-30:])
            if self.rng.random() < 0.3 and "for" not in made["payload"]:
                # A retry may say anew when it occurred.
                made = {**made, "occurred_at": event("block", "u")["occurred_at"]}
            self.send(made, way)
            return
        made = self.make()
        self.order += 1
        self.send(made, way)
        self.sent.append(made)
        self.users[made["key"]["user_id"]].take(made, self.order)

    def fault(self) -> None:
        rng, number = self.rng, self.rng.randrange(2)
        daemon = self.stacks[number].daemon
        well = self.down == [None, None]
        faults = ["pause", "silence", "restart", "kill", "sleep"]
        if well:
            faults += ["anew", "flush", "redis"]
        if self.down[number] is not None:
            self.heal(number)
            return
        fault = rng.choice(faults)
        self.tell(f"{fault} {number}")
        match fault:
            case "pause":
                daemon.process.pause()
                self.down[number] = "paused"
            case "silence":
                self.ends[number].silence()
                self.down[number] = "silent"
            case "restart":
                daemon.process.stop()
                daemon.start()
            case "kill":
                daemon.process.kill()
                daemon.start()
            case "anew":
                in_step(*self.stacks)
                daemon.process.kill()
                shutil.rmtree(daemon.store)
                daemon.store.with_suffix(".witness").unlink()
                daemon.start()
                # Else nobody hears what is published bare.
                self.is_connected(number)
            case "sleep":
                self.redis.client.execute_command("DEBUG", "SLEEP", "0.3")
            case "flush":
                in_step(*self.stacks)
                self.redis.client.flushall()
            case "redis":
                in_step(*self.stacks)
                self.redis.kill()
                self.redis.start()
        for other in range(2):
            if self.down[other] is None:
                self.is_connected(other)

    def is_connected(self, number: int) -> None:
        def connected() -> bool:
            sources = self.stacks[number].daemon.status()["sources"]
            subscribers = self.redis.client.pubsub_numsub(self.redis.CHANNEL)[0][1]
            up = sum(down != "gone" for down in self.down)
            return all(one["state"] == "connected" for one in sources) and subscribers >= up

        wait_until(connected, "the daemon to be connected", 20)

    def heal(self, number: int) -> None:
        self.tell(f"heal {number} ({self.down[number]})")
        if self.down[number] == "paused":
            self.stacks[number].daemon.process.resume()
        else:
            self.ends[number].heal()
        self.down[number] = None
        self.is_connected(number)

    def play(self) -> None:
        for _ in range(STEPS):
            if self.rng.random() < 0.2:
                self.fault()
            else:
                self.act()
        for number in range(2):
            if self.down[number]:
                self.heal(number)

    def judge(self, third: Daemon) -> None:
        in_step(*self.stacks)

        def same() -> bool:
            status, other = third.status(), self.stacks[0].daemon.status()
            return (
                status["redis"] and status["redis"]["state"] == "same" and status["digest"] == other["digest"]
            )

        wait_until(same, "the third daemon", 30)
        wrong = []
        for user, model in self.users.items():
            expected = model.ids_in_effect()
            daemons = [stack.daemon for stack in self.stacks]
            for name, daemon in [("first", daemons[0]), ("second", daemons[1]), ("third", third)]:
                if (seen := in_effect(daemon, user)) != expected:
                    wrong.append((user, name, "expected", expected, "seen", seen))
            for name, stack in zip(["first", "second"], self.stacks, strict=True):
                wait_until(lambda stack=stack: stack.edge.get("/", "nobody").status == 200, "a fresh Envoy")
                for path in SCOPES:
                    if (seen := stack.edge.get(path, user).status) != model.status(path):
                        wrong.append((user, f"{name} Envoy", path, model.status(path), seen))
        users = {user for user, *_ in wrong}
        told = [line for line in self.story if "user-" not in line or any(user in line for user in users)]
        assert not wrong, "\n".join(["", *map(str, wrong), *told])


def in_effect(daemon: Daemon, user: str) -> list[str]:
    answer = daemon.get(f"/v1/users/{user}")
    if answer.status == 404:
        return []
    view = answer.json()
    zero = [view["zero"]] if view["zero"] else []
    return sorted(one["event_id"] for one in [*view["blocks"], *zero, *view["overrides"]])


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    redis = Redis(tmp_path_factory.mktemp("redis"), ["--appendonly", "no", "--enable-debug-command", "yes"])
    with ExitStack() as cleanup:
        cleanup.callback(redis.close)
        ends = cleanup.enter_context(links(redis.port, 2))
        stacks = []
        for link in ends:
            url = f"redis://127.0.0.1:{link.near}"
            settings = {
                "sources": {"redis": {"url": url, "digest_interval": "500ms"}},
                "api": {"ack_timeout": "300ms"},
            }
            stack = cleanup.enter_context(running(daemon_settings=settings))
            stack.redis = redis
            stacks.append(stack)
        yield stacks, ends, redis


@pytest.mark.timeout(SECONDS + 120)
def test_who_is_acknowledged_last_has_the_last_word(parts, tmp_path):
    stacks, ends, redis = parts
    first = int(SEED) if SEED else random.randrange(1_000_000)
    until = time.monotonic() + SECONDS
    seed = first
    while seed == first or (not SEED and time.monotonic() < until):
        print(f"PORTCULLIS_ORDER_SEED={seed}", flush=True)
        world = World(stacks, ends, redis, random.Random(seed))
        directory = tmp_path / str(seed)
        directory.mkdir()
        with undone(world):
            world.play()
            settings = {"sources": {"redis": {"url": redis.url, "digest_interval": "500ms"}}}
            third = Daemon(directory, None, settings)
            try:
                world.judge(third)
            finally:
                third.close()
        seed += 1


def undone(world: World):
    """Nothing stays stopped, whatever has failed."""
    stack = ExitStack()
    for one in world.stacks:
        stack.callback(lambda one=one: one.daemon.process.alive() and one.daemon.process.resume())
    for end in world.ends:
        stack.callback(end.heal)
    return stack
