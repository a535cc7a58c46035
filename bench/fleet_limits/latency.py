"""What a request waits for, with a limit that is the fleet's and with one that is not: request by request, in turn.

One connection to one Envoy of each kind; a request goes to the next kind once the last has its answer. So what disturbs
the machine disturbs all alike. Each Envoy has one worker. No user ever meets the limit, and most requests make a
report: each user asks again after a time in which the node has to say so. What is on other machines in a fleet, Redis
and the other node, gives way here: otherwise it takes the cores that Envoy and its client want.
"""

import os
import random
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench import peers, report
from bench.fleet_limits import contenders, nodes
from bench.fleet_limits import log as logs
from bench.fleet_limits.contenders import ALONE, FLEET, LOCAL, REMOTE
from bench.fleet_limits.limits import SMALL
from bench.probe import Probe

RATIO_MAX = 1.05
REQUESTS = 20_000
_USERS = 2_000
_WARM_UP = 1_000
# For each, so that there is somebody to hear of what is taken.
_NODES = 2
_NICEST = 19


class Unfit(RuntimeError):
    """A request was rejected, and so took another way."""


@dataclass
class Waits:
    """The times of the answers of one kind."""

    name: str
    seconds: list[float] = field(default_factory=list)
    reports_each: float = 0.0  # for each request

    def us(self, share: float) -> float:
        return logs.quantile(self.seconds, share) * 1e6


def kinds() -> tuple[list[str], str | None]:
    """What can be measured here, and why not all of it."""
    cause = peers.why_not()
    return [FLEET, ALONE, LOCAL, *([] if cause else [REMOTE])], cause


def measure(names: list[str], directory: Path, requests: int = REQUESTS) -> list[Waits]:
    with ExitStack() as cleanup:
        probes, fleets = [], {}
        for number, name in enumerate(names):
            what = replace(nodes.setup(contenders.EVERY[name], SMALL), workers=1)
            fleet = cleanup.enter_context(nodes.running(what, _NODES, directory / f"k{number}"))
            probe, fleets[name] = Probe(fleet.ports[0]), fleet
            cleanup.callback(probe.close)
            probes.append((Waits(name), probe))
            _give_way(fleet)
        _in_turn(probes, _WARM_UP)
        for waits, _ in probes:
            waits.seconds.clear()
            waits.reports_each = -fleets[waits.name].reports() / requests
        _in_turn(probes, requests)
        for waits, _ in probes:
            waits.reports_each += fleets[waits.name].reports() / requests
        return [waits for waits, _ in probes]


def _give_way(fleet: nodes.Fleet) -> None:
    others = fleet.nodes[1:]
    processes = [fleet.redis.process] if fleet.redis else []
    processes += [one.edge.process for one in others] + [one.daemon.process for one in others if one.daemon]
    for process in processes:
        for thread in Path(f"/proc/{process.pid}/task").iterdir():
            os.setpriority(os.PRIO_PROCESS, int(thread.name), _NICEST)


def _in_turn(probes: list[tuple[Waits, Probe]], requests: int) -> None:
    draw = random.Random(1)
    for _ in range(requests):
        user = f"user-{draw.randrange(_USERS)}"
        for waits, probe in draw.sample(probes, len(probes)):
            started = time.perf_counter()
            status = probe.status_of(user)
            waits.seconds.append(time.perf_counter() - started)
            if status != 200:
                raise Unfit(f"{waits.name} answered {status}")


def ratios(waits: list[Waits]) -> dict[str, float]:
    """Ours with `fleet`, of ours without it."""
    named = {one.name: one for one in waits}
    if FLEET not in named:
        return {}
    return {name: named[FLEET].us(share) / named[ALONE].us(share) for name, share in _SHARES.items()}


_SHARES = {"p50": 0.5, "p99": 0.99}


def misses(waits: list[Waits]) -> list[str]:
    return [
        f"{name} is {ratio:.3f} of that without fleet, not at most {RATIO_MAX:g}"
        for name, ratio in ratios(waits).items()
        if ratio > RATIO_MAX
    ]


def _line(one: Waits) -> list[str]:
    reports = f"{one.reports_each:.2f}" if one.reports_each else ""
    return [one.name, *(f"{one.us(share):.0f}" for share in _SHARES.values()), reports]


def section(waits: list[Waits], cause: str | None) -> report.Section:
    lines = [_line(one) for one in waits]
    text = report.table(["what", "p50, us", "p99, us", "reports/request"], lines)
    found = ratios(waits)
    for name, ratio in found.items():
        verdict = "met" if ratio <= RATIO_MAX else "**missed**"
        text += (
            f"\n\n{name} with fleet, of that without: {ratio:.3f}; goal: at most {RATIO_MAX:g}, {verdict}."
        )
    if cause:
        text += f"\n\nNo {REMOTE}: {cause}."
    figures = {one.name: {name: one.us(share) for name, share in _SHARES.items()} for one in waits}
    return report.Section("What a request waits for", text, {"us": figures, "ratios": found})
