"""What is promised while parts fail is checked by numbers that can be wrong: on a fleet that does as it should, and on
some that do not."""

import random
import sys

import pytest

from harness import artifacts

sys.path.insert(0, str(artifacts.REPOSITORY))

from bench.fleet_limits import faults, promises
from bench.fleet_limits.limits import SMALL
from bench.fleet_limits.log import LET_THROUGH, NO_ANSWER, REJECTED, Entry
from bench.fleet_limits.promises import DENY, DIVIDE, LANES, LOCAL, Phase, Story

LIMIT = SMALL.limit
NODES = 4
CUT = 0


class Bucket:
    """An instant, as GCRA has it, that can be charged with debt."""

    def __init__(self, tokens: float, per_second: float):
        self.tokens, self.token_s = tokens, 1 / per_second
        self.full_at = 0.0

    def take(self, now: float) -> bool:
        if max(self.full_at, now) + self.token_s > now + self.tokens * self.token_s + 1e-9:
            return False
        self.full_at = max(self.full_at, now) + self.token_s
        return True

    def charge(self, takes: int, now: float) -> None:
        """Debt of a bucket is kept."""
        after = max(self.full_at, now) + takes * self.token_s
        self.full_at = min(after, now + 2 * self.tokens * self.token_s)


class Fleet:
    """One lane of a fleet whose nodes know everything at once, unless they are cut off."""

    def __init__(self, lane: str, wrong: str):
        self.lane, self.wrong = lane, wrong
        self.bucket = Bucket(LIMIT.tokens, LIMIT.per_second)
        self.own = [Bucket(LIMIT.tokens, LIMIT.per_second) for _ in range(NODES)]
        self.shares = [self._share() for _ in range(NODES)]
        self.debt = 0
        self.lost_at: dict[int, float] = {}

    def _share(self) -> Bucket:
        return Bucket(LIMIT.tokens / NODES, LIMIT.per_second / NODES)

    def begin(self, phase: str, now: float) -> None:
        if phase in (promises.DAEMON_LOST, promises.REDIS_LOST):
            cut = [CUT] if phase == promises.DAEMON_LOST else range(NODES)
            self.lost_at = dict.fromkeys(cut, now)
            for node in cut:
                self.own[node].full_at = self.bucket.full_at
                self.shares[node] = self._share()
        if phase in (promises.DAEMON_BACK, promises.REDIS_BACK):
            self.lost_at = {}
            if phase == promises.REDIS_BACK:
                self.bucket.full_at = 0.0
            if self.wrong != "debt is forgotten":
                self.bucket.charge(self.debt, now)
            self.debt = 0
        if phase == promises.FLUSHED:
            self.bucket.full_at = 0.0

    def request(self, node: int, now: float) -> bool:
        if self.wrong == "each node has a bucket":
            return self.own[node].take(now)
        if node not in self.lost_at:
            return self.bucket.take(now)
        knows = now - self.lost_at[node] > 1.2
        if knows and self.lane == DENY and self.wrong != "deny lets through":
            return False
        own = self.own[node]
        before = own.full_at
        let = own.take(now)
        if let and knows and self.lane == DIVIDE and self.wrong != "divide does not":
            let = self.shares[node].take(now)
            own.full_at = own.full_at if let else before
        self.debt += let
        return let


def played(wrong: str = "") -> Story:
    phases, begins = [], 0.0
    for step in faults.STEPS:
        phases.append(Phase(step.name, begins, begins + step.seconds))
        begins += step.seconds
    return Story(
        LIMIT, NODES, 20.0, 15.0, CUT, phases, {lane: lane_of(lane, phases, wrong) for lane in LANES}
    )


def lane_of(lane: str, phases: list[Phase], wrong: str) -> list[Entry]:
    fleet, draw, log = Fleet(lane, wrong), random.Random(3), []
    for phase in phases:
        fleet.begin(phase.name, phase.from_s)
        again = wrong == "a bucket twice"
        for ms in range(round(phase.from_s * 1000), round(phase.to_s * 1000), 10):
            if again and phase.name == promises.FLUSHED and ms == round(phase.from_s * 1000) + 5000:
                fleet.bucket.full_at = 0.0
            node = draw.randrange(NODES)
            let = fleet.request(node, ms / 1000)
            status = LET_THROUGH if let else REJECTED
            if wrong == "denied for good" and phase.name == promises.REDIS_BACK:
                status = NO_ANSWER
            log.append(Entry(ms / 1000, node, 0, ms / 1000, ms / 1000, status))
    return log


def broken(story: Story) -> set[tuple[str, str]]:
    return {(check.phase, check.lane) for check in promises.checks(story) if not check.is_kept}


def test_a_fleet_that_does_as_it_should_keeps_every_promise():
    story = played()
    assert broken(story) == set()
    checked = {(check.phase, check.lane) for check in promises.checks(story)}
    assert checked == {(step.name, lane) for step in faults.STEPS for lane in LANES}


@pytest.mark.parametrize(
    "wrong, lane, phase",
    [
        ("each node has a bucket", LOCAL, promises.CALM),
        ("each node has a bucket", DENY, promises.RESTART),
        ("divide does not", DIVIDE, promises.REDIS_LOST),
        ("deny lets through", DENY, promises.DAEMON_LOST),
        ("deny lets through", DENY, promises.REDIS_LOST),
        ("debt is forgotten", LOCAL, promises.DAEMON_BACK),
        ("a bucket twice", DIVIDE, promises.FLUSHED),
        ("denied for good", LOCAL, promises.REDIS_BACK),
    ],
)
def test_a_promise_that_is_broken_is_named(wrong, lane, phase):
    assert (phase, lane) in broken(played(wrong))
