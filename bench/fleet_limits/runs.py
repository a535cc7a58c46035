"""One pattern on one fleet of nodes: played, logged and judged."""

import asyncio
import uuid
from dataclasses import dataclass
from pathlib import Path

from bench.fleet_limits import bound, judge, patterns, word
from bench.fleet_limits import log as logs
from bench.fleet_limits.client import Client, Head
from bench.fleet_limits.contenders import Contender
from bench.fleet_limits.log import Log
from bench.fleet_limits.nodes import Fleet

RATIO_MIN, RATIO_MAX = 0.95, 1.05
# Over two minutes.
LONG_S = 120.0
RATE_TOLERANCE = 0.01
# Of all requests of a pattern, those that no limit has decided.
_UNDECIDED_SHARE_MAX = 0.001


@dataclass
class Run:
    """What came of it."""

    contender: Contender
    plan: patterns.Plan
    verdict: judge.Verdict
    word: word.Word
    bound: float | None  # tokens, of the formula; none where nothing was measured
    p50_s: float
    p99_s: float
    late_s: float
    reached: int  # requests at the upstream, by its own count
    reports_each: float  # for each request, those of `word` included; 0 if there are none

    @property
    def has_goal(self) -> bool:
        """Requests to all nodes in the same milliseconds have only the bound."""
        return self.contender.is_ours and self.plan.pattern != patterns.AT_ONCE

    def misses(self) -> list[str]:
        """The goals that were missed, in words."""
        if not self.contender.is_ours:
            return []
        found = []
        if self.has_goal:
            low, high = self.goal
            if not low <= self.verdict.ratio <= high:
                found.append(
                    f"admitted {self.verdict.ratio:.3f} of what is entitled, not {low:g} to {high:g}"
                )
        surely = self.verdict.overshoot.surely
        if self.bound is not None and surely > self.bound:
            found.append(f"{surely:.1f} tokens too many, and the formula allows {self.bound:.1f}")
        return found

    @property
    def goal(self) -> tuple[float, float]:
        if self.plan.seconds >= LONG_S:
            return 1 - RATE_TOLERANCE, 1 + RATE_TOLERANCE
        return RATIO_MIN, RATIO_MAX


class Unfit(RuntimeError):
    """What was measured is not what was meant to be."""


def run(fleet: Fleet, contender: Contender, plan: patterns.Plan, file: Path | None = None) -> Run:
    """Plays the plan with users that nobody knows yet. Each request is written to the file, if there is one."""
    before, reports = fleet.let_through(), fleet.reports()
    log, told = asyncio.run(_play(fleet, contender, plan))
    if file:
        logs.write(log, file)
    found = _judged(contender, plan, log, told)
    found.reached = fleet.let_through() - before
    found.reports_each = (fleet.reports() - reports) / (len(log) + told.asked)
    _check(found, log)
    return found


async def _play(fleet: Fleet, contender: Contender, plan: patterns.Plan) -> tuple[Log, word.Word]:
    told, over = word.Word(), asyncio.Event()
    async with Client(fleet.ports) as client:
        measuring = None
        if contender.has_word and len(fleet.nodes) > 1:
            measuring = asyncio.create_task(word.measure(client, told, over))
        log = await client.play(patterns.requests(plan), Head(uuid.uuid4().hex[:8]))
        over.set()
        if measuring:
            await measuring
    return log, told


def _judged(contender: Contender, plan: patterns.Plan, log: Log, told: word.Word) -> Run:
    limit = plan.case.limit
    allowed = None
    if told.told_s:
        allowed = bound.tokens_max(limit, plan.nodes, told.max_s, bound.requests_max(log, told.max_s))
    latencies = logs.latencies_s(log)
    return Run(
        contender=contender,
        plan=plan,
        verdict=judge.judge(log, limit),
        word=told,
        bound=allowed,
        p50_s=logs.quantile(latencies, 0.5),
        p99_s=logs.quantile(latencies, 0.99),
        late_s=logs.late_s(log),
        reached=0,
        reports_each=0.0,
    )


def _check(found: Run, log: Log) -> None:
    """A figure of something else than it says is worse than none."""
    verdict = found.verdict
    if verdict.undecided > _UNDECIDED_SHARE_MAX * len(log):
        kinds = sorted({entry.status for entry in log if not entry.is_decided})
        raise Unfit(f"{verdict.undecided} of {len(log)} requests were not decided: {kinds}")
    let = verdict.admitted + found.word.let_through
    # What has no answer may have reached the upstream.
    unknown = verdict.undecided + found.word.undecided
    if abs(found.reached - let) > unknown:
        raise Unfit(f"{found.reached} requests reached the upstream, and {let} got 200")
