"""What runs have come to, as a table for people and as JSON for programs."""

from bench import report
from bench.fleet_limits import patterns
from bench.fleet_limits.runs import Run

# From here on it is said.
_LATE_S = 0.05
_HEADS = [
    "limit",
    "requests",
    "what",
    "offered",
    "admitted",
    "of the entitled",
    "too many, tokens",
    "the formula allows",
    "D, ms (p50, max)",
    "reports/request",
    "p50, p99, ms",
    "goal",
]


def section(runs: list[Run]) -> report.Section:
    text = report.table(_HEADS, [_line(run) for run in runs])
    return report.Section("What is admitted", f"{text}\n\n{_notes(runs)}", {"runs": as_json(runs)})


def _line(run: Run) -> list[str]:
    verdict = run.verdict
    surely, at_most = verdict.overshoot.surely, verdict.overshoot.at_most
    return [
        str(run.plan.case.limit),
        f"{run.plan.pattern}, {run.plan.seconds:g} s{_late(run)}",
        run.contender.name,
        f"{verdict.offered:,}",
        f"{verdict.admitted:,}",
        f"{verdict.ratio:.3f}",
        f"{surely:.0f}" if at_most - surely < 1 else f"{surely:.0f} to {at_most:.0f}",
        "" if run.bound is None else f"{run.bound:.0f}",
        "" if not run.word.told_s else f"{_ms(run.word.p50_s)}, {_ms(run.word.max_s)}",
        f"{run.reports_each:.2f}" if run.reports_each else "",
        f"{_ms(run.p50_s)}, {_ms(run.p99_s)}",
        _goal(run),
    ]


def _late(run: Run) -> str:
    """The machine had not the time to play the pattern as it is."""
    return f" (sent up to {_ms(run.late_s)} ms late)" if run.late_s > _LATE_S else ""


def _goal(run: Run) -> str:
    if run.misses():
        return "**missed**"
    if run.has_goal:
        low, high = run.goal
        return f"met: {low:g} to {high:g}"
    return "met: the formula" if run.contender.is_ours and run.bound is not None else ""


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f}"


def _notes(runs: list[Run]) -> str:
    names = dict.fromkeys(run.plan.pattern for run in runs)
    played = "; ".join(f"*{name}*: {patterns.SAYS[name]}" for name in names)
    late = max((run.late_s for run in runs), default=0.0)
    return (
        f"{played}.\n\nOf 1,000 requests, 999 were sent no more than {_ms(late)} ms late in the worst run."
        " *Entitled* is what one exact bucket for each user admits of the same requests. *Too many* is the most above"
        " bucket and rate in any span of time: surely, and at most. *D* is the time until another node knows that a"
        " bucket is empty; the formula is computed with its maximum in the same run."
    )


def as_json(runs: list[Run]) -> list[dict]:
    return [
        {
            "contender": run.contender.name,
            "pattern": run.plan.pattern,
            "nodes": run.plan.nodes,
            "seconds": run.plan.seconds,
            "tokens": run.plan.case.limit.tokens,
            "per_second": run.plan.case.limit.per_second,
            "offered": run.verdict.offered,
            "admitted": run.verdict.admitted,
            "entitled": run.verdict.entitled,
            "ratio": round(run.verdict.ratio, 4),
            "too_many_surely": round(run.verdict.overshoot.surely, 2),
            "too_many_at_most": round(run.verdict.overshoot.at_most, 2),
            "bound": run.bound and round(run.bound, 2),
            "told_ms": [round(one * 1e3, 2) for one in run.word.told_s],
            "p50_ms": round(run.p50_s * 1e3, 3),
            "p99_ms": round(run.p99_s * 1e3, 3),
            "reports_each": round(run.reports_each, 4),
            "late_ms": round(run.late_s * 1e3, 1),
            "misses": run.misses(),
        }
        for run in runs
    ]
