"""What is aimed at, and what a run says about it: ratios and times from that run alone."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from operator import sub, truediv

from bench.report import added
from bench.rounds import Result
from bench.rows import named
from harness.hosts import NATIVE

GATE, LOCAL = "gate: block check and bucket", "local_ratelimit"
BLOCKED, LOCAL_REJECTS = "gate, blocked users", "local_ratelimit, rejects"
SIGNED = "gate, signed, 1 KiB body"
UPSTREAM, REMOTE = "gate, upstream", "envoyproxy/ratelimit with Redis"
NO_UPSTREAM_FILTER = "no filter, upstream"
FLEET = "gate, fleet limit"
ENDS = "gate, ends open streams"
ON_NATIVE = {row: named(row, NATIVE) for row in (GATE, BLOCKED, SIGNED, ENDS)}


@dataclass(frozen=True)
class Goal:
    """One number that has a bound."""

    name: str
    says: str
    needs: tuple[str, ...]  # rows
    of: Callable[[dict[str, Result]], float]
    bound: float
    at_least: bool = False

    def is_met(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound


def _ratio(ours: str, theirs: str) -> Callable[[dict[str, Result]], float]:
    return lambda results: added(results, ours) / added(results, theirs)


def _paired(
    ours: str, theirs: str, compare: Callable[[float, float], float]
) -> Callable[[dict[str, Result]], float]:
    """All of the CPU of a request, not only what is added, compared round by round: the median."""

    def median(results: dict[str, Result]) -> float:
        pairs = zip(results[ours].samples, results[theirs].samples, strict=True)
        return statistics.median(compare(one.cpu_us, other.cpu_us) for one, other in pairs)

    return median


def _throughput(results: dict[str, Result]) -> float:
    ours, theirs = (results[row].median(lambda s: s.per_second) for row in (UPSTREAM, REMOTE))
    return ours / theirs


def _tail(results: dict[str, Result]) -> float:
    p99 = {row: results[row].median(lambda s: s.p99_us) for row in (UPSTREAM, REMOTE)}
    floor = results[NO_UPSTREAM_FILTER].median(lambda s: s.p99_us)
    return max(0.0, p99[UPSTREAM] - floor) / max(1.0, p99[REMOTE] - floor)


GOALS = [
    Goal("allowed", "added CPU, of local_ratelimit's", (GATE, LOCAL), _ratio(GATE, LOCAL), 1.5),
    Goal(
        "blocked",
        "added CPU of a rejection, of local_ratelimit's",
        (BLOCKED, LOCAL_REJECTS),
        _ratio(BLOCKED, LOCAL_REJECTS),
        1.0,
    ),
    Goal(
        "signed",
        "CPU added to buffering a signed 1 KiB body, us",
        (SIGNED,),
        lambda results: added(results, SIGNED),
        15.0,
    ),
    Goal(
        "native, allowed",
        "native: added CPU, of local_ratelimit's",
        (ON_NATIVE[GATE], LOCAL),
        _ratio(ON_NATIVE[GATE], LOCAL),
        1.0,
    ),
    Goal(
        "native, blocked",
        "native: added CPU of a rejection, of local_ratelimit's",
        (ON_NATIVE[BLOCKED], LOCAL_REJECTS),
        _ratio(ON_NATIVE[BLOCKED], LOCAL_REJECTS),
        1.3,
    ),
    Goal(
        "native, signed",
        "native: CPU added to buffering a signed 1 KiB body, of the wasm module's",
        (ON_NATIVE[SIGNED], SIGNED),
        _ratio(ON_NATIVE[SIGNED], SIGNED),
        0.35,
    ),
    Goal(
        "fleet",
        "CPU with a limit that is the fleet's, of a node's own",
        (FLEET, GATE),
        _paired(FLEET, GATE, truediv),
        1.1,
    ),
    Goal(
        "open streams",
        "CPU of knowing what is open, us",
        (ENDS, GATE),
        _paired(ENDS, GATE, sub),
        0.3,
    ),
    Goal(
        "native, open streams",
        "native: CPU of knowing what is open, us",
        (ON_NATIVE[ENDS], ON_NATIVE[GATE]),
        _paired(ON_NATIVE[ENDS], ON_NATIVE[GATE], sub),
        0.3,
    ),
    Goal(
        "throughput",
        "requests/s, of those of envoyproxy/ratelimit with Redis",
        (UPSTREAM, REMOTE),
        _throughput,
        3.0,
        at_least=True,
    ),
    Goal(
        "tail",
        "added p99, of that of envoyproxy/ratelimit with Redis",
        (UPSTREAM, REMOTE, NO_UPSTREAM_FILTER),
        _tail,
        0.2,
    ),
]


def reached(results: dict[str, Result]) -> list[tuple[Goal, float]]:
    """Every goal whose rows were measured."""
    return [(goal, goal.of(results)) for goal in GOALS if all(row in results for row in goal.needs)]
