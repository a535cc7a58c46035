"""What was admitted, beside what one exact bucket admits of the same requests. No clock, no I/O.

A request was decided between the instant when it was sent and the one when its answer came. `entitled` feeds an exact
bucket in the middle. `Overshoot` has two figures, since where a span of time begins and ends among requests that are
under way is not known: so much was surely admitted too much, and no more than so much can have been.
"""

from dataclasses import dataclass

from bench.fleet_limits import log as logs
from bench.fleet_limits.limits import Limit
from bench.fleet_limits.log import Entry, Log

# Of a token: what floating point may add up to.
_ROUNDING = 1e-6


class Exact:
    """One bucket, by the generic cell rate algorithm. Instants are seconds, and go forward."""

    def __init__(self, limit: Limit):
        self._limit = limit
        self._full_at = float("-inf")

    def take(self, now_s: float) -> bool:
        """Takes a token if there is one."""
        after = max(self._full_at, now_s) + self._limit.token_s
        room = self._limit.fill_s + _ROUNDING * self._limit.token_s
        if after > now_s + room:
            return False
        self._full_at = after
        return True


@dataclass(frozen=True)
class Overshoot:
    """Tokens above bucket and rate, in the span of time that has the most; 0 if there is none."""

    surely: float
    at_most: float


@dataclass(frozen=True)
class Verdict:
    """What a run came to. With several users, the overshoot is that of the worst of them."""

    offered: int
    admitted: int
    entitled: int
    undecided: int
    overshoot: Overshoot

    @property
    def ratio(self) -> float:
        return self.admitted / self.entitled if self.entitled else 1.0


def judge(log: Log, limit: Limit) -> Verdict:
    """Each user has one bucket."""
    users = logs.of_users(log)
    overshoots = [overshoot(entries, limit) for entries in users.values()]
    return Verdict(
        offered=len(log),
        admitted=logs.admitted(log),
        entitled=sum(entitled(entries, limit) for entries in users.values()),
        undecided=logs.undecided(log),
        overshoot=Overshoot(
            max((one.surely for one in overshoots), default=0.0),
            max((one.at_most for one in overshoots), default=0.0),
        ),
    )


def entitled(decided: list[Entry], limit: Limit) -> int:
    """How many of one user's requests one exact bucket admits."""
    bucket = Exact(limit)
    return sum(bucket.take(at_s) for at_s in sorted(entry.decided_s for entry in decided))


def overshoot(decided: list[Entry], limit: Limit) -> Overshoot:
    """Of one user.

    Let S count those sent and A those answered by an instant. In the span from s to t at least A(t) - S(before s)
    were admitted, for whatever was answered by t and not sent before s lies within. And at most S(t) - A(before s)
    were, since whatever was sent later, or answered before, lies outside.
    """
    let = [entry for entry in decided if entry.is_admitted]
    sent = sorted(entry.sent_s for entry in let)
    answered = sorted(entry.answered_s for entry in let)
    return Overshoot(_most(answered, sent, limit), _most(sent, answered, limit))


def _most(ends: list[float], begins: list[float], limit: Limit) -> float:
    """The largest count in any span, less bucket and rate. A span's count is that of `ends` up to its last instant,
    less that of `begins` before its first. Both are sorted."""
    rate, most, lowest, begun = limit.per_second, 0.0, float("inf"), 0
    for ended, end_s in enumerate(ends, 1):
        while begun < len(begins) and begins[begun] <= end_s:
            # A span that begins just here has not counted this one before it.
            lowest = min(lowest, begun - rate * begins[begun])
            begun += 1
        at_once = begun - rate * end_s
        most = max(most, ended - rate * end_s - min(lowest, at_once) - limit.tokens)
    return most
