"""Can the chaos test see a broken limit of the fleet? Made-up answers of nodes, and what is promised of them."""

import pytest

from bench.fleet_limits.judge import Exact
from chaos.faults import KINDS, RARE, Fault
from chaos.ledger import Request
from chaos.limits import (
    DENY,
    LIMIT,
    LOCAL,
    NODE_TOO_MANY,
    TOO_FEW,
    TOO_LONG,
    TOO_MANY,
    Disturbance,
    Limits,
    alone,
    steady,
)
from chaos.run import disturbance
from chaos.takers import PER_NODE_PER_S

A, B = NODES = ["edge-a", "edge-b"]
# How long a request is under way.
TAKES_S = 0.002


def ask(limits: Limits, user: str, node: str, at: float, status: int) -> None:
    limits.judge(Request(node, user, at, at + TAKES_S, status))


def play(limits: Limits, user: str, begin: float, end: float, buckets: dict[str, Exact]) -> None:
    """Both nodes are asked as the chaos test does it, and decide by the bucket that is theirs."""
    count = round((end - begin) * PER_NODE_PER_S)
    for number in range(count):
        for node in NODES:
            at = begin + (number + (0.5 if node == B else 0)) / PER_NODE_PER_S
            ask(limits, user, node, at, 200 if buckets[node].take(at) else 429)


def one_for_all() -> dict[str, Exact]:
    bucket = Exact(LIMIT)
    return {A: bucket, B: bucket}


def one_each() -> dict[str, Exact]:
    return {A: Exact(LIMIT), B: Exact(LIMIT)}


def kinds(limits: Limits, calm: tuple[float, float] | None = None) -> list[str]:
    limits.finish(calm)
    return [breach.kind for breach in limits.breaches]


@pytest.fixture(params=[LOCAL, DENY])
def limits(request) -> Limits:
    return Limits({"u": request.param}, NODES)


def test_one_exact_bucket_breaks_nothing(limits):
    play(limits, "u", 100, 160, one_for_all())
    assert kinds(limits, (100, 160)) == []
    assert max(limits.most.values()) <= 1 and max(limits.longest.values()) < 0.2


def test_a_node_that_counts_by_itself_is_seen_within_the_calm_of_each_run(limits):
    play(limits, "u", 100, 112, one_each())
    assert kinds(limits, (100, 112)) == [TOO_MANY]
    (breach,) = limits.breaches
    assert breach.end - breach.begin == pytest.approx(12, abs=0.2), breach
    assert "admitted, of which" in str(breach)


def test_also_between_faults_of_which_each_excuses_no_more_than_it_may_add(limits):
    for begin in range(100, 400, 20):
        limits.disturb(Disturbance(begin, begin + 4, cut_off=frozenset([B])))
    play(limits, "u", 100, 400, one_each())
    assert kinds(limits) == [TOO_MANY]


def test_a_node_that_is_cut_off_goes_on_alone_if_it_may():
    begin, end = 105, 117
    limits = Limits({"u": LOCAL, "v": DENY}, NODES)
    limits.disturb(Disturbance(begin, end, cut_off=frozenset([B])))
    for user in limits.users:
        buckets = one_for_all()
        play(limits, user, 100, begin, buckets)
        play(limits, user, begin, end, {A: buckets[A], B: Exact(LIMIT)})
        play(limits, user, end, 120, buckets)
    limits.finish(None)
    (breach,) = limits.breaches
    assert (breach.kind, breach.user) == (TOO_MANY, "v"), "it should have let nothing through once it knew"


def test_what_is_given_away_once_is_excused_once(limits):
    """With a full bucket for everybody again and again."""
    again = [105 + number for number in range(8)]
    for lost in (True, False):
        found = Limits(dict(limits.users), NODES)
        bucket = one_for_all()
        for begin, end in zip([100, *again], [*again, 115], strict=True):
            if lost and begin != 100:
                found.disturb(Disturbance(begin, begin, loses=True))
            play(found, "u", begin, end, bucket)
            bucket = one_for_all()
        assert kinds(found) == ([] if lost else [TOO_MANY]), lost


def test_no_fault_lets_one_node_take_more_than_its_own_bucket(limits):
    limits.disturb(Disturbance(100, 110, cut_off=frozenset(NODES), loses=True))
    for number in range(LIMIT.tokens + 2):
        ask(limits, "u", A, 105 + number / 1000, 200)
    assert kinds(limits) == [NODE_TOO_MANY]
    restarted = Limits(dict(limits.users), NODES)
    restarted.disturb(Disturbance(100, 110, frozenset(NODES), frozenset([A])))
    for number in range(LIMIT.tokens + 2):
        ask(restarted, "u", A, 105 + number / 1000, 200)
    assert kinds(restarted) == []


def test_nobody_is_denied_for_longer_than_bucket_and_debt_need(limits):
    for number in range(40):
        ask(limits, "u", NODES[number % 2], 100 + number / 10, 429)
    assert kinds(limits) == [TOO_LONG]
    excused = Limits(dict(limits.users), NODES)
    excused.disturb(Disturbance(101, 103))
    for number in range(40):
        ask(excused, "u", NODES[number % 2], 100 + number / 10, 429)
    ask(excused, "u", A, 104.0, 200)
    for number in range(25):
        ask(excused, "u", NODES[number % 2], 104.1 + number / 10, 429)
    assert kinds(excused) == []
    # 503 is no decision of a limit.
    for number in range(100):
        ask(excused, "u", A, 106.6 + number / 10, 503)
    assert kinds(excused) == []


def test_in_peace_the_rate_is_admitted(limits):
    bucket = Exact(LIMIT)
    for number in range(240):
        at = 100 + number / 20
        ask(limits, "u", A, at, 200 if number % 3 == 0 and bucket.take(at) else 429)
    assert kinds(limits, (100, 112)) == [TOO_FEW]


def test_what_arrives_late_was_not_surely_admitted_at_once(limits):
    """A node was stopped, and what had been sent to it all the while arrives within a moment."""
    for number in range(60):
        sent = 100 + number / 10
        limits.judge(Request(A, "u", sent, 106.5, 200))
    assert kinds(limits) == []


def test_the_excess_that_is_stated_is_not_larger_than_what_the_test_can_see():
    assert steady(2) < 60 and alone() < 22


def of(*names: str) -> Disturbance | None:
    every = {kind.name: kind for kind in [*KINDS, *RARE]}
    faults = tuple(Fault(every[name], "a", 1.0) for name in names)
    return disturbance(faults, 1.0, 2.0, {"a": A, "b": B})


def test_faults_do_to_limits_what_they_do():
    both = frozenset(NODES)
    assert of("user states deleted", "digest of a wrong type") is None, "no excuse at all"
    assert of("redis FLUSHALL") == Disturbance(1.0, 2.0, loses=True)
    assert of("redis kill -9") == of("redis link silent") == Disturbance(1.0, 2.0, both)
    assert of("daemon SIGSTOP, long") == of("poll link silent") == Disturbance(1.0, 2.0, frozenset([A]))
    assert of("envoy kill -9") == Disturbance(1.0, 2.0, frozenset([A]), frozenset([A]))
    named_anew = of("redis FLUSHALL", "daemon kill -9")
    assert named_anew == Disturbance(1.0, 2.0, frozenset([A]), both, loses=True)
