"""The judge of the fleet's proof says what is so: of stories whose answer is known, and of Envoys of which it is."""

import asyncio
import dataclasses
import itertools
import random
import re
import sys
import tempfile
from pathlib import Path

import pytest

from harness import artifacts

sys.path.insert(0, str(artifacts.REPOSITORY))

from bench.fleet_limits import bound, contenders, judge, nodes, patterns, runs
from bench.fleet_limits import log as logs
from bench.fleet_limits.client import Client, Head
from bench.fleet_limits.limits import CASES, MANY, SMALL, Case, Limit
from bench.fleet_limits.log import LET_THROUGH, NO_ANSWER, REJECTED, Entry

LIMIT = SMALL.limit
NODES = 4


def story(*requests: tuple[float, bool], node: int = 0, user: int = 0, took_s: float = 0.0) -> list[Entry]:
    """Requests of one user at one node: when, and whether it was let through."""
    status = {True: LET_THROUGH, False: REJECTED}
    return [Entry(at, node, user, at, at + took_s, status[let]) for at, let in requests]


def played(plan: patterns.Plan, buckets: int, took_s: float = 0.0) -> list[Entry]:
    """A plan over nodes that share so many exact buckets for each user."""
    exact: dict[tuple[int, int], judge.Exact] = {}
    log = []
    for request in patterns.requests(plan):
        bucket = exact.setdefault((request.node % buckets, request.user), judge.Exact(plan.case.limit))
        let = bucket.take(request.at_s + took_s / 2)
        log += story((request.at_s, let), node=request.node, user=request.user, took_s=took_s)
    return log


# ---- the exact bucket --------------------------------------------------------------------------


def test_the_exact_bucket_has_its_tokens_at_once_and_then_its_rate():
    bucket = judge.Exact(LIMIT)
    assert [bucket.take(7.0) for _ in range(101)] == [True] * 100 + [False]
    assert not bucket.take(7.099)
    assert bucket.take(7.1) and not bucket.take(7.1)
    assert sum(bucket.take(60.0) for _ in range(200)) == 100, "it is never more than full"


def test_the_exact_bucket_is_that_of_a_naive_one():
    draw = random.Random(5)
    bucket, tokens, before = judge.Exact(LIMIT), float(LIMIT.tokens), 0.0
    for at_s in sorted(draw.uniform(0, 60) for _ in range(2000)):
        tokens = min(LIMIT.tokens, tokens + (at_s - before) * LIMIT.per_second)
        before = at_s
        is_there = tokens >= 1 - 1e-6
        assert bucket.take(at_s) == is_there, at_s
        tokens -= is_there


# ---- the verdict -------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", patterns.ONE_USER)
def test_one_bucket_for_all_nodes_gets_what_it_is_entitled_to(pattern):
    plan = patterns.Plan(pattern, SMALL, NODES, 20)
    verdict = judge.judge(played(plan, buckets=1), LIMIT)
    assert verdict.ratio == 1.0 and verdict.overshoot.surely < 0.01
    assert 200 <= verdict.admitted <= 301


def test_a_bucket_on_each_node_is_told_from_one():
    plan = patterns.Plan(patterns.UNIFORM, SMALL, NODES, 20)
    verdict = judge.judge(played(plan, buckets=NODES), LIMIT)
    assert verdict.ratio == pytest.approx(NODES, rel=0.02)
    # Three buckets at once, and three times the rate for all of the time.
    assert verdict.overshoot.surely == pytest.approx(3 * (100 + 200), rel=0.02)


def test_what_is_paid_back_shows_as_overshoot_and_not_in_the_ratio():
    # A bucket too many at the start, then nothing until time has paid for it.
    log = story(*[(0.0, True)] * 200, *[(s / 10, s > 100) for s in range(1, 300)])
    verdict = judge.judge(log, LIMIT)
    assert (verdict.admitted, verdict.entitled) == (399, 399)
    assert verdict.overshoot.surely == 100


def test_a_bucket_that_is_full_once_more_shows_wherever_it_comes():
    log = story(*[(0.0, True)] * 100, *[(s / 10, True) for s in range(1, 150)], *[(15.0, True)] * 101)
    assert judge.judge(log, LIMIT).overshoot.surely == pytest.approx(100)
    assert judge.judge(log, LIMIT).ratio == pytest.approx(350 / 250, rel=0.01)


def test_what_is_under_way_is_given_the_benefit_of_the_doubt_and_no_more():
    # 110 at once that took a second: ten too many, unless the last ten were decided a second after the first.
    log = story(*[(0.0, True)] * 110, took_s=1.0)
    overshoot = judge.judge(log, LIMIT).overshoot
    assert (overshoot.surely, overshoot.at_most) == (0.0, 10.0)
    log = story(*[(0.0, True)] * 121, took_s=1.0)
    assert judge.judge(log, LIMIT).overshoot.surely == pytest.approx(11)


def test_the_sure_overshoot_is_that_of_the_best_instants_and_the_other_that_of_the_worst():
    draw = random.Random(9)
    for _ in range(20):
        limit = Limit(3, 5)
        spans = sorted((draw.uniform(0, 4), draw.uniform(0, 0.4)) for _ in range(40))
        log = [Entry(at, 0, 0, at, at + took, LET_THROUGH) for at, took in spans]
        found = judge.judge(log, limit).overshoot
        for _ in range(20):
            decided = sorted(draw.uniform(entry.sent_s, entry.answered_s) for entry in log)
            true = naive_overshoot(decided, limit)
            assert found.surely - 1e-6 <= true <= found.at_most + 1e-6


def naive_overshoot(decided: list[float], limit: Limit) -> float:
    spans = itertools.combinations_with_replacement(range(len(decided)), 2)
    above = (j - i + 1 - limit.tokens - limit.per_second * (decided[j] - decided[i]) for i, j in spans)
    return max(0.0, *above)


def test_users_have_buckets_of_their_own():
    log = story(*[(0.0, True)] * 100, user=1) + story(*[(0.0, True)] * 103, user=2)
    verdict = judge.judge(log, LIMIT)
    assert (verdict.admitted, verdict.entitled, verdict.overshoot.surely) == (203, 200, 3)


def test_what_no_limit_has_decided_counts_for_nothing():
    log = [*story((0.0, True)), Entry(0, 0, 0, 0, 1, NO_ANSWER), Entry(0, 0, 0, 0, 1, 503)]
    verdict = judge.judge(log, LIMIT)
    assert (verdict.offered, verdict.admitted, verdict.entitled, verdict.undecided) == (3, 1, 1, 2)


# ---- the bound ---------------------------------------------------------------------------------


def test_the_bound_is_the_formula_of_the_documents():
    # N x (u + min(b + r x D + 1, q)) + r x D + 1, with D = 10 ms.
    assert bound.tokens_max(LIMIT, 8, 0.01, 2) == pytest.approx(8 * (5 + 2) + 1.1)
    assert bound.tokens_max(LIMIT, 8, 0.01, 500) == pytest.approx(8 * (5 + 101.1) + 1.1)
    assert bound.tokens_max(Limit(10, 1), 32, 0.01, 1) == pytest.approx(32 * 2 + 1.01)


def test_the_most_requests_within_a_span_are_counted_at_each_node_and_user():
    log = story(*[(s / 100, True) for s in range(100)]) + story(
        *[(s / 100, True) for s in range(100)], node=1
    )
    assert bound.requests_max(log, 0.055) == 6
    assert bound.requests_max(log + story((0.5, False), user=7), 0.055) == 6
    assert bound.requests_max(story((0.0, True), (1.0, True), took_s=1.5), 0.1) == 2, "under way together"
    assert bound.requests_max([], 1.0) == 0


def test_nodes_that_learn_late_stay_within_the_bound():
    """A fleet that knows only after D what the others took, as a naive simulation."""
    told_s, nodes = 0.05, 4
    plan = patterns.Plan(patterns.UNIFORM, SMALL, nodes, 20)
    takes: list[tuple[float, int]] = []
    log = []
    for request in patterns.requests(plan):
        full_at = 0.0
        for at_s, node in takes:
            if node == request.node or at_s < request.at_s - told_s:
                full_at = max(full_at, at_s) + LIMIT.token_s
        let = max(full_at, request.at_s) + LIMIT.token_s <= request.at_s + LIMIT.fill_s
        takes += [(request.at_s, request.node)] if let else []
        log += story((request.at_s, let), node=request.node)
        if len(takes) > 400:
            break
    found = judge.judge(log, LIMIT).overshoot.surely
    assert 0 < found <= bound.tokens_max(LIMIT, nodes, told_s, bound.requests_max(log, told_s))


# ---- the patterns ------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
@pytest.mark.parametrize("pattern", patterns.ONE_USER)
def test_a_pattern_asks_for_more_than_there_is_and_for_no_more_than_the_client_can(case: Case, pattern):
    made = patterns.requests(patterns.Plan(pattern, case, 8, 10))
    entitled = case.limit.tokens + 10 * case.limit.per_second
    assert entitled < len(made) <= 10.5 * patterns.OFFERED_MAX
    assert made == sorted(made, key=lambda request: request.at_s)
    assert made == patterns.requests(patterns.Plan(pattern, case, 8, 10)), "the seed decides"


def test_patterns_reach_the_nodes_that_they_name():
    def nodes(pattern: str, from_s: float = 0.0, to_s: float = 20.0) -> set[int]:
        made = patterns.requests(patterns.Plan(pattern, SMALL, 8, 20))
        return {request.node for request in made if from_s <= request.at_s < to_s}

    assert nodes(patterns.STICKY) == {0}
    assert nodes(patterns.UNIFORM) == nodes(patterns.ROTATING) == set(range(8))
    assert nodes(patterns.ROTATING, 1.0, 1.5) == {2}
    assert nodes(patterns.LATE_BURST, 8.0, 10.0) == set()
    assert nodes(patterns.LATE_BURST, 10.0, 10.1) == {0}
    at_once = patterns.requests(patterns.Plan(patterns.AT_ONCE, SMALL, 8, 1))
    assert {request.node for request in at_once if request.at_s == at_once[0].at_s} == set(range(8))


def test_ten_thousand_users_have_ten_who_ask_for_too_much():
    made = patterns.requests(patterns.Plan(patterns.MANY_USERS, MANY, 8, 20))
    counts: dict[int, int] = {}
    for request in made:
        counts[request.user] = counts.get(request.user, 0) + 1
    entitled = MANY.limit.tokens + 20 * MANY.limit.per_second
    assert all(counts[user] > 10 * entitled for user in range(10))
    assert sum(count > entitled for count in counts.values()) == 10
    assert len(counts) > 9_000


# ---- real Envoys -------------------------------------------------------------------------------


QUICK = patterns.Plan(patterns.UNIFORM, SMALL, NODES, 4)


def quick(contender: contenders.Contender, directory, plan: patterns.Plan = QUICK) -> runs.Run:
    with nodes.running(nodes.setup(contender, plan.case), plan.nodes, directory) as fleet:
        return runs.run(fleet, contender, plan, directory / "log.csv")


@pytest.fixture
def short():
    """A Unix socket's path has 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="pc-") as name:
        yield Path(name)


def test_envoys_that_are_limited_each_for_itself_admit_so_many_times_too_much(short):
    found = quick(contenders.EVERY[contenders.LOCAL], short)
    assert found.verdict.entitled == pytest.approx(140, abs=2)
    assert found.verdict.admitted == found.reached == pytest.approx(NODES * 140, rel=0.05)
    assert found.verdict.overshoot.surely == pytest.approx((NODES - 1) * 140, rel=0.1)
    assert len((short / "log.csv").read_text().split()) == found.verdict.offered + 1
    assert found.misses() == [], "no goal is about it"
    ours = dataclasses.replace(found, contender=dataclasses.replace(found.contender, is_ours=True))
    assert len(ours.misses()) == 1


def test_envoys_that_divide_by_their_number_admit_one_bucket(short):
    found = quick(contenders.EVERY[contenders.CLUSTER], short)
    assert found.verdict.ratio == pytest.approx(1, abs=0.05)
    sticky = dataclasses.replace(QUICK, pattern=patterns.STICKY)
    found = quick(contenders.EVERY[contenders.CLUSTER], short / "s", sticky)
    assert found.verdict.ratio == pytest.approx(1 / NODES, abs=0.05), "whom one node serves gets its part"


def test_what_no_limit_has_decided_spoils_a_run(short):
    contender = contenders.EVERY[contenders.LOCAL]
    with nodes.running(nodes.setup(contender, SMALL), NODES, short) as fleet:
        fleet.nodes[1].edge.process.kill()
        with pytest.raises(runs.Unfit, match="were not decided"):
            runs.run(fleet, contender, QUICK)


def test_a_node_that_comes_back_is_asked_again(short):
    """As the faults need it: the client goes on, and finds the node on its port again."""
    plan = patterns.Plan(patterns.UNIFORM, Case("roomy", Limit(10_000, 10_000), 200), 2, 4)
    contender = contenders.EVERY[contenders.LOCAL]

    async def play(fleet: nodes.Fleet) -> list[Entry]:
        async with Client(fleet.ports) as client:
            playing = asyncio.create_task(client.play(patterns.requests(plan), Head("u")))
            await asyncio.sleep(1)
            await asyncio.to_thread(fleet.nodes[1].edge.process.kill)
            fleet.nodes[1].edge.start()
            return await playing

    with nodes.running(nodes.setup(contender, plan.case), 2, short) as fleet:
        log = asyncio.run(play(fleet))
    statuses = [[entry.status for entry in log if entry.node == node] for node in range(2)]
    assert set(statuses[0]) == {LET_THROUGH}
    assert set(statuses[1]) == {LET_THROUGH, NO_ANSWER}
    assert statuses[1][0] == statuses[1][-1] == LET_THROUGH
    assert all(entry.answered_s >= entry.sent_s > 0 for entry in log)


# ---- the documents -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "chapter, names", [("Requests", patterns.NAMES), ("What is compared", contenders.EVERY)]
)
def test_what_there_is_to_choose_from_is_documented(chapter, names):
    text = (artifacts.REPOSITORY / "docs/contributing/fleet-proof.md").read_text()
    table = text.split(f"\n## {chapter}\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE) == list(names)


# ---- what a log says ---------------------------------------------------------------------------


def test_a_log_is_written_with_each_request(tmp_path):
    logs.write(story((0.5, True), (0.75, False), node=3, user=2, took_s=0.001), tmp_path / "log.csv")
    lines = (tmp_path / "log.csv").read_text().split()
    assert lines == ["sent_us,answered_us,node,user,status", "500000,501000,3,2,200", "750000,751000,3,2,429"]


def test_a_quantile_is_one_of_the_values():
    assert logs.quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert logs.quantile([3.0, 1.0, 2.0], 0.99) == 3.0
    assert logs.quantile([], 0.5) == 0.0
