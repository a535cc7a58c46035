"""Which requests there are: when, to which node, of which user. No clock, no I/O; the seed decides what is random.

Requests come by the millisecond, as they do in the simulation of the crate `fleet`.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from bench.fleet_limits.limits import Case

USERS = 10_000
# Of the ten thousand: so few ask for far more than they may.
_HOT_USERS = 10
_HOT_SHARE = 0.2
_ROTATE_S = 0.5
_BURST_S = 0.1
_BURST_PER_S = 1000
# A client on the same cores cannot ask for more, also where each node is asked.
OFFERED_MAX = 3000

STICKY, UNIFORM, ROTATING, AT_ONCE, LATE_BURST = "sticky", "uniform", "rotating", "at once", "late burst"
MANY_USERS = "ten thousand users"
ONE_USER = (STICKY, UNIFORM, ROTATING, LATE_BURST, AT_ONCE)
NAMES = (*ONE_USER, MANY_USERS)
SAYS = {
    STICKY: "one node has all requests",
    UNIFORM: "any node, at random",
    ROTATING: f"one node after the other, {_ROTATE_S:g} s each",
    LATE_BURST: "uniform, nothing for a tenth of the time, a burst at one node, uniform again",
    AT_ONCE: "every node in the same millisecond",
    MANY_USERS: f"{USERS:,} users over all nodes, ten of whom ask for far more than they may",
}


@dataclass(frozen=True, order=True)
class Request:
    """One that is to be sent so many seconds after the start."""

    at_s: float
    node: int
    user: int


@dataclass(frozen=True)
class Plan:
    """A pattern and what it is played on."""

    pattern: str
    case: Case
    nodes: int
    seconds: float
    seed: int = 1


def requests(plan: Plan) -> list[Request]:
    """In the order in which they are to be sent."""
    draw = random.Random(plan.seed)
    made = []
    for ms in range(round(plan.seconds * 1000)):
        at_s = ms / 1000
        made += [Request(at_s, node, user) for node, user in _of_ms(plan, at_s, draw)]
    return made


def _of_ms(plan: Plan, at_s: float, draw: random.Random) -> Iterator[tuple[int, int]]:
    count = _count(_per_second(plan, at_s), draw)
    for _ in range(count):
        match plan.pattern:
            case "sticky":
                yield 0, 0
            case "rotating":
                yield int(at_s / _ROTATE_S) % plan.nodes, 0
            case "at once":
                yield from ((node, 0) for node in range(plan.nodes))
            case "ten thousand users":
                users = _HOT_USERS if draw.random() < _HOT_SHARE else USERS
                yield draw.randrange(plan.nodes), draw.randrange(users)
            case _ if _is_burst(plan, at_s):
                yield 0, 0
            case _:
                yield draw.randrange(plan.nodes), 0


def _per_second(plan: Plan, at_s: float) -> float:
    offered = plan.case.offered
    if plan.pattern == AT_ONCE:
        # So many times a second, each node.
        return min(offered, OFFERED_MAX / plan.nodes)
    if plan.pattern != LATE_BURST:
        return offered
    if _is_burst(plan, at_s):
        return _BURST_PER_S
    idle_from, idle_to = 0.4 * plan.seconds, 0.5 * plan.seconds
    return 0 if idle_from <= at_s < idle_to else offered


def _is_burst(plan: Plan, at_s: float) -> bool:
    begins = 0.5 * plan.seconds
    return plan.pattern == LATE_BURST and begins <= at_s < begins + _BURST_S


def _count(per_second: float, draw: random.Random) -> int:
    """Of one millisecond: whole requests, and by chance one more."""
    per_ms = per_second / 1000
    return int(per_ms) + (draw.random() < per_ms % 1)
