"""What docs/explanation/fleet-limits.md promises while parts fail, checked on a log. No clock, no I/O.

A *lane* is the requests under one limit; there is one for each rule of `on_loss`. Each lane asks every node for more
than the rate all the while, so its bucket is empty when a phase begins, but for the first.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from bench.fleet_limits import judge
from bench.fleet_limits import log as logs
from bench.fleet_limits.limits import Limit
from bench.fleet_limits.log import Log

LOCAL, DIVIDE, DENY = LANES = ("local", "divide", "deny")
CALM = "nothing fails"
RESTART = "an Envoy is killed and started again"
DAEMON_LOST = "a daemon is killed"
DAEMON_BACK = "the daemon is started again"
REDIS_LOST = "Redis is killed"
REDIS_BACK = "Redis is started again, without its data"
FLUSHED = "FLUSHALL"
# A node counts as cut off once a report has waited for a second; before that a token has to come, and a report to be
# due.
LOST_WITHIN_S = 2.0
# What is denied for longer than bucket and debt need.
_DENIED_SPARE_S = 1.0
# At the end of a phase in which debt is paid, for so long the rate is looked at.
_LAST_S = 4.0
_DEBT_BUCKETS = 1


@dataclass(frozen=True)
class Phase:
    """A part of the run, from one instant to the next."""

    name: str
    from_s: float
    to_s: float

    @property
    def seconds(self) -> float:
        return self.to_s - self.from_s


@dataclass(frozen=True)
class Story:
    """All that the promises are checked on."""

    limit: Limit
    nodes: int
    bound: float  # tokens too many that the formula allows while nothing fails
    once: float  # tokens that the restart of a node can add
    cut: int  # the node whose daemon is killed
    phases: list[Phase]
    lanes: dict[str, Log]


@dataclass(frozen=True)
class Check:
    """A number, and what was promised of it."""

    phase: str
    lane: str
    says: str
    value: float
    at_least: float
    at_most: float

    @property
    def is_kept(self) -> bool:
        return self.at_least <= self.value <= self.at_most


def checks(story: Story) -> list[Check]:
    return [
        check for phase in story.phases for lane in LANES for check in _OF[phase.name](story, phase, lane)
    ]


def _calm(story: Story, phase: Phase, lane: str) -> Iterator[Check]:
    found = judge.judge(_within(story, lane, phase), story.limit)
    yield Check(phase.name, lane, "admitted, of the entitled", found.ratio, 0.95, 1.05)
    yield _above(story, phase, lane, 0)


def _restarted(story: Story, phase: Phase, lane: str) -> Iterator[Check]:
    yield _above(story, phase, lane, story.once)


def _flushed(story: Story, phase: Phase, lane: str) -> Iterator[Check]:
    most = story.limit.tokens + story.limit.per_second * phase.seconds + story.bound
    yield _count(story, phase, lane, "admitted: full once, and the rate", 0, most)


def _above(story: Story, phase: Phase, lane: str, more: float) -> Check:
    """In any span of time up to the end of the phase."""
    log = logs.between(story.lanes[lane], 0, phase.to_s)
    decided = [entry for entry in log if entry.is_decided]
    surely = judge.overshoot(decided, story.limit).surely
    return Check(phase.name, lane, "too many, in any span so far", surely, 0, story.bound + more)


def _cut_off(story: Story, phase: Phase, lane: str) -> Iterator[Check]:
    """One node is: it does what the limit says, and the others go on."""
    limit, late = story.limit, _known_lost(phase)
    alone = _at(story, lane, phase, story.cut)
    share = _at(story, lane, late, story.cut)
    if lane == LOCAL:
        says = "admitted by the node that is cut off: the rate by itself"
        yield Check(
            phase.name,
            lane,
            says,
            alone,
            _most_of(limit, late),
            limit.tokens + limit.per_second * phase.seconds,
        )
    elif lane == DIVIDE:
        yield Check(
            phase.name, lane, "admitted by it once it knows: its share", share, 1, _share(story, late.seconds)
        )
    else:
        yield Check(phase.name, lane, "admitted by it once it knows: nothing", share, 0, 0)
    others = logs.admitted(_within(story, lane, phase)) - alone
    most = limit.per_second * phase.seconds + story.bound + story.once
    yield Check(
        phase.name,
        lane,
        "admitted by the others: the rate",
        others,
        0.5 * limit.per_second * phase.seconds,
        most,
    )


def _paid_back(story: Story, phase: Phase, lane: str) -> Iterator[Check]:
    """What was taken by the node that was cut off was the fleet's debt."""
    limit = story.limit
    so_far = logs.admitted(logs.between(story.lanes[lane], 0, phase.to_s))
    most = limit.tokens + limit.per_second * phase.to_s + story.bound + story.once
    yield Check(
        phase.name,
        lane,
        "admitted from the start: a bucket and the rate, for all debt is paid",
        so_far,
        0,
        most,
    )
    yield _at_last(story, phase, lane)


def _all_cut_off(story: Story, phase: Phase, lane: str) -> Iterator[Check]:
    limit, late = story.limit, _known_lost(phase)
    if lane == LOCAL:
        most = story.nodes * limit.per_second * phase.seconds + story.bound
        yield _count(story, phase, lane, "admitted: the rate of each node", 2 * _most_of(limit, late), most)
    elif lane == DIVIDE:
        most = story.nodes * _share(story, late.seconds)
        yield _count(
            story, late, lane, "admitted once they know: a share each, together bucket and rate", 1, most
        )
    else:
        yield _count(story, late, lane, "admitted once they know: nothing", 0, 0)


def _after_loss(story: Story, phase: Phase, lane: str) -> Iterator[Check]:
    limit = story.limit
    yield from _flushed(story, phase, lane)
    longest = (1 + _DEBT_BUCKETS) * limit.fill_s + _DENIED_SPARE_S
    denied = _denied_s(story.lanes[lane], phase)
    yield Check(phase.name, lane, "seconds for which nothing was admitted", denied, 0, longest)
    yield _at_last(story, phase, lane)


def _at_last(story: Story, phase: Phase, lane: str) -> Check:
    """Once debt is paid the rate is what it was."""
    last = Phase(phase.name, phase.to_s - _LAST_S, phase.to_s)
    expected = story.limit.per_second * _LAST_S
    return _count(
        story, last, lane, "admitted in the last 4 s: the rate", 0.6 * expected, expected + story.bound
    )


def _count(story: Story, phase: Phase, lane: str, says: str, at_least: float, at_most: float) -> Check:
    return Check(phase.name, lane, says, logs.admitted(_within(story, lane, phase)), at_least, at_most)


def _within(story: Story, lane: str, phase: Phase) -> Log:
    return logs.between(story.lanes[lane], phase.from_s, phase.to_s)


def _at(story: Story, lane: str, phase: Phase, node: int) -> int:
    return sum(entry.is_admitted for entry in _within(story, lane, phase) if entry.node == node)


def _known_lost(phase: Phase) -> Phase:
    return Phase(phase.name, phase.from_s + LOST_WITHIN_S, phase.to_s)


def _most_of(limit: Limit, phase: Phase) -> float:
    """What a node admits at least that has the rate for itself and is asked for more."""
    return 0.5 * limit.per_second * phase.seconds


def _share(story: Story, seconds: float) -> float:
    """Of one node that divides: its part of bucket and rate, one token at least, and one for rounding."""
    limit = story.limit
    return max(1.0, limit.tokens / story.nodes) + limit.per_second * seconds / story.nodes + 1


def _denied_s(log: Log, phase: Phase) -> float:
    """The longest time in which requests were sent and none was let through."""
    let = [entry.sent_s for entry in logs.between(log, phase.from_s, phase.to_s) if entry.is_admitted]
    instants = [phase.from_s, *sorted(let), phase.to_s]
    return max(later - earlier for earlier, later in itertools.pairwise(instants))


_OF = {
    CALM: _calm,
    RESTART: _restarted,
    DAEMON_LOST: _cut_off,
    DAEMON_BACK: _paid_back,
    REDIS_LOST: _all_cut_off,
    REDIS_BACK: _after_loss,
    FLUSHED: _flushed,
}
