"""docs/explanation/benchmarks.md: what a run of `scripts/bench --write` has measured, and nothing else."""

import argparse
import datetime
from pathlib import Path

from bench import goals as aims
from bench import machine, report
from bench.rounds import Result

FILE = Path(__file__).parent.parent / "docs/explanation/benchmarks.md"

_INTRODUCTION = """\
# Benchmarks

Written by `scripts/bench --write` on {date}: {cores} cores of {cpu}, Linux {kernel}. Load, Envoy, daemon and
Redis share them. Each row has an Envoy of its own with one worker that answers by itself; all rows take their
turn in each of {rounds} rounds of {seconds:g} s. CPU is that of the worker thread, from the kernel's accounting,
median and range over the rounds; *added* is the median difference to the row's baseline in the same round.
`beside` is the CPU of the services that a row asks. Compare ratios out of one run, not times between runs.
[What was tried](performance.md) to make it less, and what the floor is.
"""


def goals(results: list[Result]) -> report.Section:
    """What is aimed at, of everything that was measured."""
    reached = aims.reached({result.row.name: result for result in results})
    lines = [
        [goal.says, f"{value:.2f}", _bound(goal), "yes" if goal.is_met(value) else "**no**"]
        for goal, value in reached
    ]
    text = report.table(["what", "measured", "goal", "met"], lines)
    return report.Section("Goals", text, {goal.name: value for goal, value in reached})


def _bound(goal: aims.Goal) -> str:
    return f"{'>=' if goal.at_least else '<='} {goal.bound:g}"


def text(sections: list[report.Section], arguments: argparse.Namespace) -> str:
    head = _INTRODUCTION.format(
        date=datetime.datetime.now(datetime.UTC).date(),
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        **machine.description(),
    )
    parts = [f"## {section.title}\n\n{section.text}" for section in sections]
    return "\n".join([head, "\n\n".join(parts), ""])
