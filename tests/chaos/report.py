"""What a run prints at its end."""

import statistics
from collections import Counter

from chaos import limits as of_limits
from chaos.ledger import DENIED, FALSE_BLOCK, LET_THROUGH, LOST, NOT_EVERYWHERE, Ledger
from chaos.limits import LANES, Limits
from chaos.publisher import Publisher
from chaos.run import Outcome

_USERS_SHOWN = 5
# Around a violation, so much of its user's timeline is shown.
_BEFORE_S, _AFTER_S = 30.0, 2.0
_NO_ANSWER = {0: "timed out", -1: "no connection"}


def summary(outcome: Outcome, ledger: Ledger, publisher: Publisher) -> list[str]:
    lines = ["", f"{'fault':34} {'count':>5} {'recovery p50':>13} {'max':>9} {'in step p50':>13} {'max':>9}"]
    for name, seconds in sorted(outcome.recoveries.items()):
        found = "".join(f" {_ms(times)}" for times in (seconds, outcome.in_step[name]))
        lines.append(f"{name:34} {len(seconds):>5}{found}")
    ways: Counter = Counter()
    for (via, _), count in ledger.published.items():
        ways[via] += count
    by_way = ", ".join(f"{count} by {via}" for via, count in sorted(ways.items()))
    lines += ["", f"events: {ways.total()} ({by_way}), {publisher.retries} retries"]
    answers = ledger.answers
    unserved = {status: n for status, n in answers.items() if status not in (200, 403)}
    why = ", ".join(f"{_NO_ANSWER.get(s, s)}: {n}" for s, n in sorted(unserved.items()))
    lines.append(
        f"requests: {answers.total()}, let through {answers[200]}, rejected {answers[403]}, "
        f"not served {sum(unserved.values())}" + (f" ({why})" if why else "")
    )
    said = ledger.everywhere
    lines.append(f"asked for the fleet: {said.total()}, {said[True]} times enforced everywhere")
    kinds = Counter(violation.kind for violation in ledger.violations)
    every = (LOST, LET_THROUGH, FALSE_BLOCK, DENIED, NOT_EVERYWHERE)
    lines.append(", ".join(f"{kind}: {kinds[kind]}" for kind in every))
    return lines


def _ms(seconds: list[float]) -> str:
    """The median and the longest."""
    if not seconds:
        return f"{'-':>13} {'-':>9}"
    return f"{statistics.median(seconds) * 1000:>10.0f} ms {max(seconds) * 1000:>6.0f} ms"


def violations(outcome: Outcome, ledger: Ledger) -> list[str]:
    """What failed, and the timelines of some users concerned, with what was broken meanwhile."""
    lines = [f"FAILED: {failure}" for failure in outcome.failures]
    lines += [f"{len(outcome.missing)} newest events not enforced"] if outcome.missing else []
    for node, user in outcome.missing[:_USERS_SHOWN]:
        lines += ["", f"{LOST}: {user} on {node}"]
        lines += _story(outcome, ledger, user, outcome.notes[-1][0], [])
    first = {violation.request.user: violation for violation in reversed(ledger.violations)}
    for violation in list(first.values())[-_USERS_SHOWN:]:
        request = violation.request
        took_ms = (request.decided - request.sent) * 1000
        judged = f">>> {request.node}: {request.status}, within {took_ms:.1f} ms"
        lines += ["", f"{violation} (times are relative to this request)"]
        lines += _story(outcome, ledger, request.user, request.sent, [(request.sent, judged)])
    left = len(first) - _USERS_SHOWN
    return lines + ([f"... and {left} more users"] if left > 0 else [])


def _story(
    outcome: Outcome, ledger: Ledger, user: str, at: float, more: list[tuple[float, str]]
) -> list[str]:
    entries = sorted([*ledger.timeline(user), *outcome.notes, *more])
    shown = [entry for entry in entries if at - _BEFORE_S < entry[0] < at + _AFTER_S]
    return [f"  {(when - at) * 1000:+10.1f} ms  {what}" for when, what in shown]


def limits(judged: Limits) -> list[str]:
    """What was admitted under limits of the fleet, at its worst."""
    allowed = of_limits.steady(len(judged.nodes))
    lines = []
    for lane in LANES:
        answers = {status: n for (name, status), n in judged.answers.items() if name == lane}
        asked, admitted, denied = sum(answers.values()), answers.get(200, 0), answers.get(429, 0)
        beyond = (
            f"{judged.most[lane]:.0f} of {allowed:.0f} tokens beyond bucket, rate and what faults may add"
        )
        lines.append(
            f"limit {lane}: asked {asked}, admitted {admitted}, {judged.entitled[lane]} by exact buckets, "
            f"rejected {denied}; at most {beyond}; "
            f"denied for {judged.longest[lane]:.1f} s at most"
        )
    kinds = Counter(breach.kind for breach in judged.breaches)
    return [*lines, ", ".join(f"{kind}: {kinds[kind]}" for kind in of_limits.KINDS)]


def breaches(outcome: Outcome, judged: Limits) -> list[str]:
    """What was broken of limits, and what was done meanwhile."""
    lines: list[str] = []
    for breach in judged.breaches:
        lines += ["", f"{breach} (times are relative to its beginning)"]
        shown = [(at, what) for at, what in outcome.notes if breach.begin - 1.0 < at < breach.end]
        lines += [f"  {(at - breach.begin) * 1000:+10.1f} ms  {what}" for at, what in shown]
    return lines
