"""The command line of `scripts/fleet`."""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench import machine, peers, report
from bench.fleet_limits import contenders, faults, latency, nodes, patterns, runs, table
from bench.fleet_limits.limits import CASES, MANY, SMALL, Case
from harness import hosts
from harness.proc import kill_all

NODES = 8
SECONDS = 20.0
QUICK_NODES = 3
QUICK_SECONDS = 8.0
QUICK_PATTERNS = [patterns.UNIFORM, patterns.ROTATING]
# Whose rate is looked at over two minutes.
LONG_PATTERNS = [patterns.STICKY, patterns.UNIFORM, patterns.ROTATING]


def main(argv: list[str] | None = None) -> int:
    arguments = _completed(_parser().parse_args(argv))
    started = time.monotonic()
    if arguments.log:
        arguments.log.mkdir(parents=True, exist_ok=True)
    sections, missed = [], []
    with tempfile.TemporaryDirectory(prefix="pc-fleet-") as name, hosts.chosen_as(arguments.host):
        directory = Path(name)
        try:
            for section, misses in _measure(arguments, directory):
                sections.append(section)
                missed += misses
        finally:
            kill_all()
    print(_text(sections))
    if arguments.json:
        figures = {section.title: section.figures for section in sections}
        arguments.json.write_text(json.dumps({**machine.description(), **figures}, indent=1) + "\n")
    for line in missed:
        _say(f"fleet: missed: {line}")
    _say(f"fleet: {'FAILED' if missed else 'every goal was met'}, in {time.monotonic() - started:.0f} s")
    return 1 if missed else 0


def _measure(arguments: argparse.Namespace, directory: Path) -> Iterator[tuple[report.Section, list[str]]]:
    """One section after the other, and which of its goals were missed."""
    if arguments.faults:
        file = arguments.log / "faults.csv" if arguments.log else None
        outcome = faults.run(directory / "f", arguments.nodes, _say, file)
        yield faults.section(outcome), faults.misses(outcome)
    elif arguments.latency:
        names, cause = latency.kinds()
        waits = latency.measure(names, directory / "l")
        yield latency.section(waits, cause), latency.misses(waits)
    else:
        measured = _admitted(arguments, directory)
        yield measured.section(), measured.misses


@dataclass
class _Measured:
    """Of patterns on contenders."""

    found: list[runs.Run] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)  # why there is no figure
    misses: list[str] = field(default_factory=list)

    def section(self) -> report.Section:
        self.found.sort(key=lambda run: (run.plan.case.limit.tokens, patterns.NAMES.index(run.plan.pattern)))
        section = table.section(self.found)
        section.text += "".join(f"\n\n{line}" for line in self.left_out)
        return section


def _admitted(arguments: argparse.Namespace, directory: Path) -> _Measured:
    measured = _Measured()
    chosen = [contenders.EVERY[name] for name in arguments.what]
    if any(contender.ratelimit for contender in chosen) and (cause := peers.why_not()):
        measured.left_out.append(f"No {contenders.REMOTE}: {cause}.")
        chosen = [contender for contender in chosen if not contender.ratelimit]
    for case, names in _cases(arguments):
        for contender in chosen:
            _say(f"{case.limit}: {arguments.nodes} nodes with {contender.name} ...")
            home = directory / f"{case.name}-{chosen.index(contender)}"
            with nodes.running(nodes.setup(contender, case), arguments.nodes, home) as fleet:
                for name in names:
                    plan = patterns.Plan(name, case, arguments.nodes, arguments.seconds, arguments.seed)
                    _one(measured, fleet, contender, plan, _log_file(arguments, contender, plan))
    return measured


def _one(
    measured: _Measured,
    fleet: nodes.Fleet,
    contender: contenders.Contender,
    plan: patterns.Plan,
    file: Path | None,
) -> None:
    what = f"{contender.name}, {plan.case.limit}, {plan.pattern}"
    try:
        found = runs.run(fleet, contender, plan, file)
    except runs.Unfit as error:
        # Others may not keep up with what is asked of them here. Ours has to.
        _say(f"  {plan.pattern}: {error}")
        measured.left_out.append(f"No figure of {what}: {error}.")
        measured.misses += [f"{what}: {error}"] if contender.is_ours else []
        return
    _say(f"  {plan.pattern}: {found.verdict.ratio:.3f}")
    measured.found.append(found)
    measured.misses += [f"{what}: {miss}" for miss in found.misses()]


def _cases(arguments: argparse.Namespace) -> Iterator[tuple[Case, list[str]]]:
    """Limits, each with the patterns that are played on it."""
    for name in arguments.limit:
        names = [one for one in arguments.pattern if one != patterns.MANY_USERS]
        if names:
            yield CASES[name], names
    if patterns.MANY_USERS in arguments.pattern:
        yield MANY, [patterns.MANY_USERS]


def _log_file(
    arguments: argparse.Namespace, contender: contenders.Contender, plan: patterns.Plan
) -> Path | None:
    if not arguments.log:
        return None
    words = f"{plan.case.name} {plan.pattern} {contender.name}".replace(",", "").replace("/", " ")
    return arguments.log / ("-".join(words.split()) + ".csv")


def _text(sections: list[report.Section]) -> str:
    what = "{cores} cores of {cpu}, Linux {kernel}".format(**machine.description())
    parts = [f"## {section.title}\n\n{section.text}" for section in sections]
    return "\n\n".join([f"# Limits across the fleet, measured\n\n{what}.", *parts])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/fleet", description=__doc__)
    parser.add_argument("--nodes", type=int, metavar="N", help=f"Envoys, {NODES} by default")
    parser.add_argument(
        "--pattern",
        action="append",
        choices=patterns.NAMES,
        metavar="NAME",
        help=f"out of {', '.join(patterns.NAMES)}; may be repeated",
    )
    parser.add_argument("--limit", action="append", choices=CASES, help="one of the two; may be repeated")
    parser.add_argument("--seconds", type=float, help=f"of each pattern, {SECONDS:g} by default")
    parser.add_argument("--seed", type=int, default=1, help="of what is random in a pattern")
    parser.add_argument(
        "--what",
        action="append",
        choices=contenders.EVERY,
        metavar="NAME",
        help=f"out of {'; '.join(contenders.EVERY)}; may be repeated",
    )
    parser.add_argument("--quick", action="store_true", help="ours alone on three nodes, within a minute")
    parser.add_argument("--long", action="store_true", help="the rate of ours over two minutes")
    parser.add_argument("--faults", action="store_true", help="instead: what holds while parts fail")
    parser.add_argument("--latency", action="store_true", help="instead: what a request waits for")
    parser.add_argument("--host", choices=list(hosts.ALL), default=hosts.DEFAULT, help="of the gate")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to FILE")
    parser.add_argument("--log", type=Path, metavar="FOLDER", help="write every request to files there")
    return parser


def _completed(given: argparse.Namespace) -> argparse.Namespace:
    """What is not given follows from what is."""
    quick, long = given.quick, given.long
    given.nodes = given.nodes or (QUICK_NODES if quick else NODES)
    given.seconds = given.seconds or (QUICK_SECONDS if quick else runs.LONG_S if long else SECONDS)
    names = QUICK_PATTERNS if quick else LONG_PATTERNS if long else [*patterns.NAMES]
    given.pattern = given.pattern or names
    given.limit = given.limit or ([SMALL.name] if quick else [*CASES])
    given.what = given.what or ([contenders.FLEET] if quick or long else [*contenders.EVERY])
    return given


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
