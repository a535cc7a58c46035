"""From publishing a block in Redis to the first rejected request, by a client that does nothing
else; beside it the floor, a bare PUBLISH to a bare subscriber.

The client asks again as soon as it is answered, on one connection per Envoy, so each figure
includes one request that was let through and one that was rejected. It is Python, as the floor's.
"""

import json
import math
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from bench import load, report
from bench.parts import Parts, wait_synced
from bench.pressure import Events, Requests
from bench.probe import Probe, Publisher, subscribed
from harness import events, hosts
from harness.hosts import NATIVE, Host
from harness.redis_server import Redis

_TIMEOUT_S = 10
_PAYLOAD = b"x" * 300
_FLOOR, _IDLE, _EVENTS, _SATURATED = "floor", "idle", "1,000 events/s", "worker saturated"
_PER_SECOND = 1_000
# In each of so many rounds every case has its turn, with so many blocks.
_ROUNDS, _BLOCKS = 10, 100
_QUICK_ROUNDS = 5
_SATURATED_S = 4.0
_FLEETS, _FLEET_BLOCKS = (8, 32), 200
# Of the native gate.
_IDLE_MS_MAX = {"p50_ms": 0.3, "p99_ms": 1.0}

_TEXT = """\
From `PUBLISH` in Redis to a request that is rejected, in milliseconds. The client asks again as soon as it is
answered; *request* is what one such request takes in the same situation, median. Each block is that of another
user. The cases of one Envoy, on each host of the gate, and the floor, take their turn in each of {rounds} rounds.{more}
"""
_FULL_TEXT = """\
 Events beside: blocks, overrides and unblocks of 5,000 other users, {rate:,.0f} a second, each by a bare `PUBLISH`, \
that the daemon also has to write back to Redis. Saturated: wrk with 64 connections keeps the one worker {busy:.0%} \
busy ({requests:,.0f} requests/s), and the block waits where each request waits. 8 and 32 Envoys share the machine's \
cores with the daemon, with Redis, and with the client, which asks all of them at once: these figures \
are mostly its own work."""


@dataclass
class Times:
    """Milliseconds, one for each block."""

    first: list[float] = field(default_factory=list)  # until the first Envoy rejects
    everywhere: list[float] = field(default_factory=list)  # until every Envoy rejects
    request: list[float] = field(default_factory=list)  # of every Envoy, before the block

    def add(self, other: "Times") -> None:
        self.first += other.first
        self.everywhere += other.everywhere
        self.request += other.request


def blocks(
    redis: Redis, edge_ports: list[int], count: int, prefix: str, seconds_max: float = math.inf
) -> Times:
    """Blocks `count` users, one after the other, or as many as fit into the time."""
    times = Times()
    with ExitStack() as cleanup:
        probes = [cleanup.enter_context(closing(Probe(port))) for port in edge_ports]
        publisher = cleanup.enter_context(closing(Publisher(redis)))
        end = time.monotonic() + seconds_max
        for number in range(count):
            if time.monotonic() > end:
                break
            _block(probes, publisher, load.user_id(number, prefix), times)
    return times


def _block(probes: list[Probe], publisher: Publisher, user: str, times: Times) -> None:
    message = json.dumps(events.event("block", user)).encode()
    start = time.perf_counter()
    if _rejecting(probes, user):
        raise RuntimeError(f"{user} is rejected before the block")
    times.request.append((time.perf_counter() - start) * 1e3)
    start = time.perf_counter()
    publisher.publish(message)
    pending, taken = probes, []
    while pending:
        now = _rejecting(pending, user)
        taken += [(at - start) * 1e3 for at in now.values()]
        pending = [probe for probe in pending if probe not in now]
        if time.perf_counter() - start > _TIMEOUT_S:
            raise RuntimeError(f"{user} is not rejected by {len(pending)} after {_TIMEOUT_S} s")
    times.first.append(min(taken))
    times.everywhere.append(max(taken))
    publisher.wait()


def _rejecting(probes: list[Probe], user: str) -> dict[Probe, float]:
    """Asks all at once. Those that reject, each with the time of its answer."""
    for probe in probes:
        probe.ask(user)
    found = {}
    for probe in probes:
        status = probe.status()
        if status not in (200, 403):
            raise RuntimeError(f"neither let through nor blocked: {status}")
        if status == 403:
            found[probe] = time.perf_counter()
    return found


def floor(redis: Redis, count: int) -> list[float]:
    """A bare PUBLISH to a bare subscriber: what Redis and Python take by themselves."""
    channel = "portcullis.bench.floor"
    times = []
    with subscribed(redis, channel) as subscriber, closing(Publisher(redis, channel)) as publisher:
        for _ in range(count):
            start = time.perf_counter()
            publisher.publish(_PAYLOAD)
            message = b""
            while not message.endswith(_PAYLOAD + b"\r\n"):
                message += subscriber.recv(4096)
            times.append((time.perf_counter() - start) * 1e3)
            publisher.wait()
    return times


# ---- the cases -------------------------------------------------------------------------------


class _One:
    """All cases of a single Envoy, in turn."""

    def __init__(self, parts: Parts, host: Host, found: dict[str, Times]):
        redis = parts.redis()
        daemon = parts.daemon(redis)
        edge = parts.gate(daemon, host=host)
        wait_synced(daemon, 1)
        self._redis, self._daemon, self._edge, self._found = redis, daemon, edge, found
        self._host = host
        self.figures: dict[str, list[float]] = {"rate": [], "busy": [], "requests": []}

    def round(self, number: int, quick: bool) -> None:
        self._measure(_IDLE, f"i{number}-")
        if not quick:
            self._beside_events(number)
            self._saturated(number)

    def _measure(self, case: str, prefix: str, **options) -> None:
        times = blocks(self._redis, [self._edge.port], _BLOCKS, prefix, **options)
        self._found.setdefault(_named(case, self._host), Times()).add(times)

    def floor(self) -> None:
        bare = floor(self._redis, _BLOCKS)
        self._found.setdefault(_FLOOR, Times()).add(Times(first=bare))

    def _beside_events(self, number: int) -> None:
        before = self._daemon.status()["sequence"]
        with closing(Events(self._redis, _PER_SECOND)) as beside:
            self._measure(_EVENTS, f"e{number}-")
            self.figures["rate"].append(beside.per_second)
            # The daemon takes in what is published, or this would measure nothing.
            applied = self._daemon.status()["sequence"] - before
            if applied < beside.published / 2:
                raise RuntimeError(f"of {beside.published} events {applied} were applied")

    def _saturated(self, number: int) -> None:
        beside = Requests(self._edge, _SATURATED_S)
        self._measure(_SATURATED, f"s{number}-", seconds_max=_SATURATED_S / 2)
        self.figures["busy"].append(beside.busy())
        self.figures["requests"].append(beside.close().per_second)


def _named(case: str, host: Host) -> str:
    return case if host.name == hosts.DEFAULT else f"{host.name}, {case}"


def _one_envoy(
    directory: Path, found: dict[str, Times], quick: bool, say: Callable[[str], None]
) -> dict[str, float]:
    with Parts(directory) as parts:
        ones = [_One(parts, host, found) for host in hosts.ALL.values()]
        rounds = _QUICK_ROUNDS if quick else _ROUNDS
        for number in range(rounds):
            ones[0].floor()
            for one in ones:
                one.round(number, quick)
            say(f"propagation: round {number + 1} of {rounds}")
        # What goes on beside is the same for all; what they make of it is told of the default.
        return {name: statistics.median(values or [0]) for name, values in ones[0].figures.items()}


def _fleet(directory: Path, envoys: int) -> Times:
    with Parts(directory) as parts:
        redis = parts.redis()
        daemon = parts.daemon(redis)
        ports = [parts.gate(daemon).port for _ in range(envoys)]
        wait_synced(daemon, envoys)
        return blocks(redis, ports, _FLEET_BLOCKS, f"f{envoys}-")


def section(directory: Path, quick: bool, say: Callable[[str], None]) -> report.Section:
    """Publish to first rejection: idle, under either load, and to several Envoys."""
    found: dict[str, Times] = {}
    beside = _one_envoy(directory / "one", found, quick, say)
    for envoys in () if quick else _FLEETS:
        times = _fleet(directory / f"{envoys}", envoys)
        found[f"{envoys} Envoys, the first"] = times
        found[f"{envoys} Envoys, all"] = Times(first=times.everywhere, request=times.request)
        say(f"propagation: {envoys} Envoys")
    lines = [_line(case, times) for case, times in found.items()]
    heads = ["case", "blocks", "p50", "p99", "max", "request"]
    more = "" if quick else _FULL_TEXT.format(**beside)
    text = _TEXT.format(rounds=_QUICK_ROUNDS if quick else _ROUNDS, more=more)
    figures = {case: _figures(times) for case, times in found.items()}
    native = figures[_named(_IDLE, NATIVE)]
    aims = [
        (f"native, idle: {name.removesuffix('_ms')}, ms", native[name], most)
        for name, most in _IDLE_MS_MAX.items()
    ]
    tables = f"{report.table(heads, lines)}\n\n{report.bounds(aims)}"
    return report.Section("Propagation", f"{text}\n{tables}", {**figures, "beside": beside})


def _line(case: str, times: Times) -> list[str]:
    figures = _figures(times)
    named = "floor: `PUBLISH` to a bare subscriber" if case == _FLOOR else case
    values = [f"{figures[name]:.2f}" for name in ("p50_ms", "p99_ms", "max_ms")]
    request = f"{statistics.median(times.request):.2f}" if times.request else ""
    return [named, str(len(times.first)), *values, request]


def _figures(times: Times) -> dict:
    return {
        "p50_ms": statistics.median(times.first),
        "p99_ms": statistics.quantiles(times.first, n=100)[98],
        "max_ms": max(times.first),
        "samples_ms": times.first,
    }
