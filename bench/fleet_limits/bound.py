"""What the formula of docs/explanation/fleet-limits.md allows, with delays that were measured.

`fleet::overshoot::tokens_max` is the same formula, with delays that are known one by one.
"""

from bench.fleet_limits.limits import Limit
from bench.fleet_limits.log import Log


def tokens_max(limit: Limit, nodes: int, told_s: float, requests: int) -> float:
    """How many tokens above bucket and rate the fleet admits at most, in any span of time, while no debt is forgiven.

    `told_s` is the longest time from a take that makes a report due until every node knows of it (D), `requests`
    how many requests reach one node within it, at most (q). The way of a report or of news is a part of D, so the
    formula's last term is at most what fills in D.
    """
    quick = min(limit.tokens + limit.per_second * told_s + 1, requests)
    return nodes * (limit.unreported_max + quick) + limit.per_second * told_s + 1


def requests_max(log: Log, span_s: float) -> int:
    """The most requests of one user that one node can have decided within a span of this length."""
    lanes: dict[tuple[int, int], tuple[list[float], list[float]]] = {}
    for entry in log:
        if entry.is_decided:
            sent, answered = lanes.setdefault((entry.node, entry.user), ([], []))
            sent.append(entry.sent_s)
            answered.append(entry.answered_s)
    return max(
        (_within(sorted(sent), sorted(answered), span_s) for sent, answered in lanes.values()), default=0
    )


def _within(sent: list[float], answered: list[float], span_s: float) -> int:
    """Those sent by the end of the span, less those answered before its beginning."""
    most, before = 0, 0
    for count, end_s in enumerate(sent, 1):
        while answered[before] < end_s - span_s:
            before += 1
        most = max(most, count - before)
    return most


def restart_max(limit: Limit, told_s: float, requests: int) -> float:
    """How many tokens the restart of a node can add: it knows nothing until its first answer, and what it had taken and
    not reported is not counted."""
    unknown = min(limit.tokens + limit.per_second * told_s, requests)
    return unknown + limit.unreported_max + requests
