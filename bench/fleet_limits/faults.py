"""Nodes, daemons and Redis are killed while every node is asked for more than there is: what is admitted in each phase.

an Envoy ── its daemon ──┐
an Envoy ── its daemon ──┼── Redis, without persistence
...                      ┘
"""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import report
from bench.fleet_limits import bound, contenders, nodes, patterns, promises, word
from bench.fleet_limits import log as logs
from bench.fleet_limits.client import Client, request
from bench.fleet_limits.contenders import Parts, Site
from bench.fleet_limits.limits import SMALL, Case
from bench.fleet_limits.log import Log
from bench.fleet_limits.nodes import Fleet
from bench.fleet_limits.promises import LANES, Check, Phase, Story

# The Envoy that is restarted, and the node whose daemon is killed.
_RESTARTED, _CUT = 1, 0
# Of each lane, at each node: more than the whole rate, so that a node that goes on alone is seen to.
_PER_NODE = 20
# Longer than any phase: staleness has its own answers, which are not looked at here.
_STALE_AFTER = "60s"


# So long before the first fault nothing more is measured: a story has to end.
_LAST_STORY_S = 0.5


@dataclass(frozen=True)
class _Step:
    """A phase, and what is done at its beginning."""

    name: str
    seconds: float
    begin: Callable[[Fleet], None]


def _nothing(_: Fleet) -> None:
    pass


def _restart_envoy(fleet: Fleet) -> None:
    edge = fleet.nodes[_RESTARTED].edge
    edge.process.kill()
    edge.start()


def _kill_daemon(fleet: Fleet) -> None:
    fleet.nodes[_CUT].daemon.process.kill()


def _start_daemon(fleet: Fleet) -> None:
    fleet.nodes[_CUT].daemon.start(wait=False)


def _kill_redis(fleet: Fleet) -> None:
    fleet.redis.kill()


def _start_redis(fleet: Fleet) -> None:
    fleet.redis.start(wait=False)


def _flush(fleet: Fleet) -> None:
    fleet.redis.client.flushall()


STEPS = [
    _Step(promises.CALM, 10, _nothing),
    _Step(promises.RESTART, 8, _restart_envoy),
    _Step(promises.DAEMON_LOST, 6, _kill_daemon),
    _Step(promises.DAEMON_BACK, 14, _start_daemon),
    _Step(promises.REDIS_LOST, 6, _kill_redis),
    # Bucket and debt fill in 20 s.
    _Step(promises.REDIS_BACK, 28, _start_redis),
    _Step(promises.FLUSHED, 12, _flush),
]


@dataclass
class Outcome:
    """What was seen, and what of it was promised."""

    story: Story
    checks: list[Check]
    told: word.Word


def run(directory: Path, count: int, say: Callable[[str], None], file: Path | None = None) -> Outcome:
    """Each request is written to the file, if there is one; its user is the number of its lane."""
    with nodes.running(nodes.Setup(_parts, daemons=True), count, directory) as fleet:
        before = _key_changes(fleet)
        log, phases, told = asyncio.run(_play(fleet, say))
        changes = _key_changes(fleet) - before
    if file:
        logs.write(log, file)
    story = _story(log, phases, told, count)
    # With another key all buckets have other names, and are full.
    key = Check("all of it", "", "times that the key of buckets' names changed", changes, 0, 0)
    return Outcome(story, [*promises.checks(story), key], told)


def _key_changes(fleet: Fleet) -> float:
    """Of all daemons but the one that is killed, which begins with none."""
    daemons = [node.daemon for node in fleet.nodes if node.number != _CUT]
    return sum(daemon.metrics()["portcullis_fleet_key_changes_total"] for daemon in daemons)


def _parts(site: Site) -> Parts:
    """A limit for each lane, and the one that `word` needs."""
    limits = [
        {
            "name": lane,
            "key": "user",
            **SMALL.limit.bucket(),
            "match": [{"path": {"prefix": f"/{lane}"}}],
            "fleet": {"on_loss": lane},
        }
        for lane in LANES
    ]
    return contenders.gate(site, [*limits, contenders.word_limit()], stale_after=_STALE_AFTER)


class _Heads:
    """One user in each lane."""

    def __init__(self) -> None:
        user = uuid.uuid4().hex[:8]
        self._made = [request(f"/{lane}", f"x-user-id: {user}-{lane}") for lane in LANES]

    def of(self, lane: int) -> bytes:
        return self._made[lane]


def _requests(count: int) -> list[patterns.Request]:
    seconds = sum(step.seconds for step in STEPS)
    case = Case(SMALL.name, SMALL.limit, _PER_NODE * count)
    lanes = [
        patterns.requests(patterns.Plan(patterns.UNIFORM, case, count, seconds, seed=lane))
        for lane in range(len(LANES))
    ]
    return sorted(
        patterns.Request(one.at_s, one.node, lane) for lane, made in enumerate(lanes) for one in made
    )


async def _play(fleet: Fleet, say: Callable[[str], None]) -> tuple[Log, list[Phase], word.Word]:
    told, over = word.Word(), asyncio.Event()
    async with Client(fleet.ports) as client:
        # While parts fail there is no longest time.
        measuring = asyncio.create_task(word.measure(client, told, over))
        meddling = asyncio.create_task(_meddle(fleet, client, over, say))
        log = await client.play(_requests(len(fleet.nodes)), _Heads())
        phases = await meddling
        await measuring
    return log, phases, told


async def _meddle(
    fleet: Fleet, client: Client, over: asyncio.Event, say: Callable[[str], None]
) -> list[Phase]:
    phases, ends = [], 0.0
    for step in STEPS:
        begins, ends = ends, ends + step.seconds
        say(f"  {step.name} ...")
        await asyncio.to_thread(step.begin, fleet)
        phases.append(Phase(step.name, begins, ends))
        await asyncio.sleep(max(0.0, ends - _LAST_STORY_S - client.clock.now()))
        over.set()
        await asyncio.sleep(max(0.0, ends - client.clock.now()))
    return phases


def _story(log: Log, phases: list[Phase], told: word.Word, count: int) -> Story:
    limit = SMALL.limit
    calm = logs.between(log, 0, phases[0].to_s)
    requests = bound.requests_max(calm, told.max_s)
    return Story(
        limit=limit,
        nodes=count,
        bound=bound.tokens_max(limit, count, told.max_s, requests),
        once=bound.restart_max(limit, told.max_s, requests),
        cut=_CUT,
        phases=phases,
        lanes={lane: [entry for entry in log if entry.user == at] for at, lane in enumerate(LANES)},
    )


def misses(outcome: Outcome) -> list[str]:
    found = [
        f"{check.phase}, {check.lane}: {check.says}: {check.value:.2f}, not {check.at_least:.2f} to {check.at_most:.2f}"
        for check in outcome.checks
        if not check.is_kept
    ]
    if not outcome.told.told_s:
        found.append("while nothing failed, nobody was told that a bucket was empty")
    return found


def section(outcome: Outcome) -> report.Section:
    story, told = outcome.story, outcome.told
    heads = ["phase", "s", *(f"admitted, `{lane}`" for lane in LANES), "the rate", "p50, p99, ms"]
    admitted = report.table(heads, _phases(story))
    heads = ["phase", "`on_loss`", "what", "seen", "promised", "kept"]
    kept = report.table(heads, [_line(one) for one in outcome.checks])
    note = (
        f"{story.nodes} nodes, {story.limit}, {_PER_NODE * story.nodes} requests a second under each limit. D was"
        f" {told.max_s * 1e3:.1f} ms at most while nothing failed; the formula allows {story.bound:.0f} tokens then,"
        f" and {story.once:.0f} more for a restart."
    )
    figures = {"checks": [{**vars(one), "is_kept": one.is_kept} for one in outcome.checks]}
    return report.Section("What holds while parts fail", f"{note}\n\n{admitted}\n\n{kept}", figures)


def _phases(story: Story) -> list[list[str]]:
    lines = []
    for phase in story.phases:
        lanes = [logs.between(story.lanes[lane], phase.from_s, phase.to_s) for lane in LANES]
        counts = [logs.admitted(lane) for lane in lanes]
        waits = [wait for lane in lanes for wait in logs.latencies_s(lane)]
        p50, p99 = (f"{logs.quantile(waits, share) * 1e3:.1f}" for share in (0.5, 0.99))
        rate = story.limit.per_second * phase.seconds
        lines.append([phase.name, f"{phase.seconds:g}", *map(str, counts), f"{rate:g}", f"{p50}, {p99}"])
    return lines


def _line(check: Check) -> list[str]:
    promised = f"{check.at_least:.4g} to {check.at_most:.4g}"
    kept = "yes" if check.is_kept else "**no**"
    return [check.phase, check.lane, check.says, f"{check.value:.4g}", promised, kept]
