"""What was admitted under limits of the fleet, beside one exact bucket and the excess that
docs/explanation/fleet-limits.md states.

Plain and synchronous, as `ledger` is: times are of one monotonic clock, in seconds, and are given. A request was
decided between the moment when it was sent and the one when the upstream got it: only what lies within a span of time
from the one to the other was surely admitted in it, and only that counts.

A *lane* is one limit, called as its `on_loss` is. Every user of it asks every node for more than the rate, all the
while.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

from bench.fleet_limits import bound
from bench.fleet_limits.judge import Exact
from bench.fleet_limits.limits import Limit
from chaos.ledger import Request

LIMIT = Limit(tokens=10, per_second=10)
LOCAL, DENY = LANES = ("local", "deny")
# What is kept of what was admitted too much, in buckets: the default.
DEBT = 1
# D of the formula, until every node knows of a take: a node that has waited for longer counts as cut off.
TOLD_S = 1.0
# Until a node that is cut off knows it: before it has waited, a token has to come, and a report to be due.
LOST_WITHIN_S = 2.0
# Nothing is denied for longer than bucket and debt need, and this.
SPARE_S = 1.0
# Of the rate, what has to be admitted of it at least while nothing fails.
_RATE_SHARE = 0.9

TOO_MANY = "more admitted than one bucket and its stated excess"
NODE_TOO_MANY = "more admitted by one node than a bucket of its own"
TOO_LONG = "denied for longer than bucket and debt need"
TOO_FEW = "less admitted than the rate while nothing failed"
KINDS = (TOO_MANY, NODE_TOO_MANY, TOO_LONG, TOO_FEW)

# More than any node can be asked for within D: then its own bucket is the bound.
_ANY_NUMBER = 1 << 30


def steady(nodes: int) -> float:
    """What the formula allows above bucket and rate."""
    return bound.tokens_max(LIMIT, nodes, TOLD_S, _ANY_NUMBER)


def alone() -> float:
    """What a node that nobody hears of admits at once: its own bucket, of which nothing may ever be counted."""
    return LIMIT.tokens + LIMIT.per_second * TOLD_S + 1


def restart() -> float:
    """What the restart of a node can add: an own bucket, and what it had taken and not reported."""
    return bound.restart_max(LIMIT, TOLD_S, round(alone()))


@dataclass(frozen=True)
class Disturbance:
    """Faults, from their beginning until all nodes hear of the fleet again."""

    begin: float
    end: float
    cut_off: frozenset[str] = frozenset()  # nodes that may hear nothing of the fleet
    restarted: frozenset[str] = frozenset()  # nodes that forget what they know
    loses: bool = False  # Redis forgets all buckets

    def extra(self, lane: str, nodes: int) -> "Extra":
        """What may be admitted more because of it: its own bucket and rate by each node that is cut off, but for one,
        whose bucket is the fleet's then."""
        count = min(len(self.cut_off), nodes - 1)
        once = count * alone() + len(self.restarted) * restart() + self.loses * LIMIT.tokens
        lasts = self.end - self.begin
        if lane == DENY:
            lasts = min(lasts, LOST_WITHIN_S)
        return Extra(self.begin, self.begin + lasts, self.end, once, count * LIMIT.per_second)


@dataclass(frozen=True)
class Extra:
    """Tokens more in any span of time that has something of it: so many once, and a rate up to an instant."""

    begin: float
    rate_end: float
    end: float
    once: float
    rate: float = 0.0


class Allowed:
    """How much may be admitted from one instant to another, less what does not depend on them."""

    def __init__(self, extras: Iterable[Extra]):
        extras = list(extras)
        self._begun = _Steps((one.begin, one.once) for one in extras)
        self._ended = _Steps((one.end, one.once) for one in extras)
        slopes = [(one.begin, one.rate) for one in extras] + [(one.rate_end, -one.rate) for one in extras]
        # A rate from an instant on is a slope and, so that it is 0 there, a step down.
        self._slope = _Steps(slopes)
        self._offset = _Steps((at, -rate * at) for at, rate in slopes)

    def until(self, to: float) -> float:
        return self._grown(to) + self._begun.up_to(to)

    def before(self, since: float) -> float:
        """What of `until` is not for a span that begins here: what was over by then."""
        return self._grown(since) + self._ended.up_to(since)

    def _grown(self, at: float) -> float:
        return (LIMIT.per_second + self._slope.up_to(at)) * at + self._offset.up_to(at)


class _Steps:
    """A sum that grows at instants."""

    def __init__(self, steps: Iterable[tuple[float, float]]):
        ordered = sorted(steps)
        self._at = [at for at, _ in ordered]
        self._sums = [0.0, *accumulate(by for _, by in ordered)]

    def up_to(self, at: float) -> float:
        return self._sums[bisect_right(self._at, at)]


@dataclass(frozen=True)
class Worst:
    """The span of time in which most was admitted beyond what is allowed to depend on it: bucket and excess are not."""

    begin: float
    end: float
    admitted: int
    too_many: float


def worst(admitted: list[Request], allowed: Allowed) -> Worst:
    """See `bench.fleet_limits.judge`: the same with a rate that changes."""
    ends = sorted(request.decided for request in admitted)
    begins = sorted(request.sent for request in admitted)
    found, lowest, since, before, begun = Worst(0, 0, 0, 0.0), float("inf"), 0.0, 0, 0
    for ended, end in enumerate(ends, 1):
        while begun < len(begins) and begins[begun] <= end:
            at = begun - allowed.before(begins[begun])
            if at < lowest:
                lowest, since, before = at, begins[begun], begun
            begun += 1
        too_many = ended - allowed.until(end) - lowest
        if too_many > found.too_many:
            found = Worst(since, end, ended - before, too_many)
    return found


@dataclass(frozen=True)
class Breach:
    """A promise about limits that was broken."""

    kind: str
    user: str
    begin: float
    end: float
    says: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.user}, within {self.end - self.begin:.1f} s: {self.says}"


class Limits:
    """`users`: the lane of each."""

    def __init__(self, users: dict[str, str], nodes: list[str]):
        self.users, self.nodes = users, nodes
        self.disturbances: list[Disturbance] = []
        self.answers: Counter = Counter()  # lane, status -> requests
        self._decided: dict[str, list[Request]] = {user: [] for user in users}
        self.breaches: list[Breach] = []
        self.entitled: Counter = Counter()  # by lane: what exact buckets admit of the same requests
        self.most: dict[str, float] = dict.fromkeys(LANES, 0.0)  # too many, of what `steady` allows
        self.longest: dict[str, float] = dict.fromkeys(LANES, 0.0)  # denied, in seconds

    def judge(self, request: Request) -> None:
        """Takes a request in. What is said of it is said at the end."""
        self.answers[self.users[request.user], request.status] += 1
        if request.status in (200, 429):
            self._decided[request.user].append(request)

    def disturb(self, disturbance: Disturbance) -> None:
        self.disturbances.append(disturbance)

    def finish(self, calm: tuple[float, float] | None) -> None:
        """Judges all of it; between the two instants nothing failed."""
        for user, lane in self.users.items():
            self._decided[user].sort(key=lambda request: request.decided)
            exact = Exact(LIMIT)
            self.entitled[lane] += sum(exact.take(request.decided) for request in self._decided[user])
            self._count(user, lane)
            for node in self.nodes:
                self._count_node(user, node)
            self._denied(user, lane)
            if calm:
                self._calm(user, *calm)

    def _admitted(self, user: str) -> list[Request]:
        return [request for request in self._decided[user] if request.status == 200]

    def _count(self, user: str, lane: str) -> None:
        allowed = Allowed(one.extra(lane, len(self.nodes)) for one in self.disturbances)
        found = worst(self._admitted(user), allowed)
        most = LIMIT.tokens + steady(len(self.nodes))
        self.most[lane] = max(self.most[lane], found.too_many - LIMIT.tokens)
        if found.too_many > most:
            self._breach(TOO_MANY, user, found, most)

    def _count_node(self, user: str, node: str) -> None:
        """Whatever it hears, and also if it hears nothing: what a node takes itself comes from one exact bucket."""
        lives = [one for one in self.disturbances if node in one.restarted]
        allowed = Allowed(Extra(one.begin, one.end, one.end, LIMIT.tokens + 1) for one in lives)
        found = worst([one for one in self._admitted(user) if one.node == node], allowed)
        if found.too_many > LIMIT.tokens + 1:
            self._breach(NODE_TOO_MANY, user, found, LIMIT.tokens + 1)

    def _breach(self, kind: str, user: str, found: Worst, most: float) -> None:
        may = found.admitted - found.too_many + most
        says = f"{found.admitted} admitted, of which {may:.1f} may be"
        self.breaches.append(Breach(kind, user, found.begin, found.end, says))

    def _denied(self, user: str, lane: str) -> None:
        """The longest time without a token, by what nodes answered, without the time in which faults lasted."""
        longest = (1 + DEBT) * LIMIT.fill_s + SPARE_S
        since: float | None = None
        for request in self._decided[user]:
            if request.status == 200:
                since = None
                continue
            since = request.sent if since is None else since
            lasts = request.decided - since
            if lasts <= self.longest[lane]:
                continue
            lasts -= self._disturbed(since, request.decided)
            self.longest[lane] = max(self.longest[lane], lasts)
            if lasts > longest:
                says = f"denied for {lasts:.1f} s, {longest:.1f} may be"
                self.breaches.append(Breach(TOO_LONG, user, since, request.decided, says))
                return

    def _disturbed(self, begin: float, end: float) -> float:
        overlaps = (min(one.end, end) - max(one.begin, begin) for one in self.disturbances)
        return sum(overlap for overlap in overlaps if overlap > 0)

    def _calm(self, user: str, begin: float, end: float) -> None:
        """Debt of before may have to be paid first."""
        count = sum(begin <= request.sent and request.decided <= end for request in self._admitted(user))
        least = _RATE_SHARE * LIMIT.per_second * (end - begin - (1 + DEBT) * LIMIT.fill_s)
        if count < least:
            says = f"{count} admitted, {least:.0f} have to be"
            self.breaches.append(Breach(TOO_FEW, user, begin, end, says))
