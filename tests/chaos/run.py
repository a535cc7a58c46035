"""One run: starts the parts, breaks them one step after another, and watches them recover."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from chaos.asker import Asker
from chaos.checker import Checker
from chaos.faults import Fault, Pauses, Schedule
from chaos.ledger import Ledger
from chaos.limits import LANES, TOLD_S, Disturbance, Limits
from chaos.publisher import Publisher
from chaos.takers import Takers
from chaos.world import World, until

USERS = 240
EVENTS_PER_S = 100.0
# Several faults at once, in each round of all of them.
_PAIRS_PER_ROUND = 3
# Who is asked for under each limit of the fleet.
_USERS_PER_LANE = 2
# At the end nothing fails for so long: a node that counts by itself is seen then at the latest.
_CALM_S = 12.0
# Some quiet between two faults, so that each finds everything in order.
_BETWEEN_S = 0.2
_RECOVERY_S_MAX = 20.0
# No request is under way for longer than this.
_REQUEST_S_MAX = 60.0


@dataclass
class Outcome:
    seed: int
    recoveries: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    # Until all parts, Redis among them, had every user's newest event again.
    in_step: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failures: list[str] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)  # node, user: never recovered
    notes: list[tuple[float, str]] = field(default_factory=list)  # what was done when
    seconds: float = 0.0


class Breakage:
    """Which part was not in order, and when."""

    def __init__(self):
        self._past: list[tuple[frozenset[str], float]] = []  # parts, and when they were mended
        self._now: frozenset[str] = frozenset()

    def begin(self, parts: Iterable[frozenset[str]]) -> None:
        self._now = frozenset().union(*parts)

    def over(self, at: float) -> None:
        self._past = [entry for entry in self._past if entry[1] > at - _REQUEST_S_MAX]
        self._past.append((self._now, at))
        self._now = frozenset()

    def is_clean(self, parts: set[str], since: float) -> bool:
        return not (self._now & parts) and not any(
            broken & parts and mended > since for broken, mended in self._past
        )


def disturbance(
    faults: tuple[Fault, ...], begin: float, end: float, nodes: dict[str, str]
) -> Disturbance | None:
    """What faults do to limits of the fleet, if anything; `nodes` has the node of each side."""

    def of(sides: Iterable[str]) -> frozenset[str]:
        return frozenset(nodes[side] for side in sides)

    cut_off = of(side for fault in faults if fault.kind.cuts_off for side in fault.touched)
    restarted = of(side for fault in faults if fault.kind.restarts for side in fault.touched)
    loses = any(fault.kind.loses for fault in faults)
    if loses and any(fault.kind.name.startswith("daemon kill") for fault in faults):
        # A daemon that starts while Redis has lost the key of names may make another one. Then all buckets are new.
        restarted = of(nodes)
    if not (cut_off or restarted or loses):
        return None
    return Disturbance(begin, end, cut_off, restarted, loses)


class Run:
    """`pause_s`: instead of all faults, a daemon and then Redis are stopped for so long. `broken`: one node has the
    fleet's limits for itself, and the run has to find out."""

    def __init__(
        self,
        directory: Path,
        seed: int,
        say: Callable[[str], None],
        pause_s: float | None = None,
        *,
        broken: bool = False,
    ):
        self._say = say
        self._deaf, self._disordered = Breakage(), Breakage()
        self._schedule = Pauses(seed, pause_s) if pause_s else Schedule(seed, _PAIRS_PER_ROUND)
        # One event of each user is unanswered at most: enough users for the rate to be kept all the while.
        count = max(USERS, round(EVENTS_PER_S * (pause_s or 0)))
        users = [f"user-{number:03}" for number in range(count)]
        asker = Asker()
        self.world = World(directory, asker.arrived, seed, alone="b" if broken else None)
        self.ledger = Ledger(users, self.world.nodes)
        self.checker = Checker(self.ledger, asker)
        limited = {f"{lane}-{number}": lane for lane in LANES for number in range(_USERS_PER_LANE)}
        self.limits = Limits(limited, self.world.nodes)
        self._takers = Takers(self.limits, asker)
        self.publisher = Publisher(
            self.world,
            self.ledger,
            seed,
            EVENTS_PER_S,
            self._deaf.is_clean,
            self._disordered.is_clean,
            self.checker.is_wanted,
        )
        self.outcome = Outcome(seed)
        self._in_step_at = 0.0
        # After a long pause, much has to be caught up with.
        self._patience_s = max(_RECOVERY_S_MAX, pause_s or 0)
        self._started = time.monotonic()

    async def run(self, seconds: float | None) -> Outcome:
        """One round of faults, or rounds until so many seconds have passed."""
        try:
            await self.world.start()
            self._note("all parts are up and in step")
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self.checker.run(self.world)),
                    group.create_task(self.publisher.run()),
                    group.create_task(self._takers.run(self.world)),
                ]
                await self._play(seconds)
                for task in tasks:
                    task.cancel()
        finally:
            self.outcome.seconds = time.monotonic() - self._started
            await self.world.close()
        return self.outcome

    async def _play(self, seconds: float | None) -> None:
        self.publisher.go()
        deadline = time.monotonic() + (seconds or 0)
        while True:
            for step in self._schedule.round():
                await asyncio.sleep(_BETWEEN_S)
                await self._step(step)
                over = seconds is not None and time.monotonic() > deadline
                if self._has_failed():
                    return
                if over:
                    await self._finish()
                    return
            if seconds is None:
                await self._finish()
                return

    async def _step(self, faults: tuple[Fault, ...]) -> None:
        """Breaks, waits until every user's newest event is enforced on each node, then settles."""
        name = " + ".join(str(fault) for fault in faults)
        self._deaf.begin(fault.deaf for fault in faults)
        self._disordered.begin(fault.disordered for fault in faults)
        self._note(name)
        began = time.monotonic()
        await asyncio.gather(*(fault.happen(self.world) for fault in faults))
        mended = time.monotonic()
        self.checker.want_everybody()
        connected = asyncio.create_task(self._until_connected(mended))
        try:
            await until(self._seen, "every user's newest event to be enforced", self._patience_s)
        except AssertionError as error:
            self._fail(f"{name}: {error}")
            return
        finally:
            connected.cancel()
        recovery_s = time.monotonic() - mended
        kind = faults[0].kind.name if len(faults) == 1 else "two at once"
        self.outcome.recoveries[kind].append(recovery_s)
        self._note(f"    recovered after {recovery_s * 1000:.0f} ms")
        try:
            await until(self.world.is_in_step, "all parts to be connected again", self._patience_s)
            await until(self.world.hears_of_the_fleet, "all nodes to hear of the fleet", self._patience_s)
        except AssertionError as error:
            self._fail(f"{name}: {error}")
            return
        self._disturbed(faults, began)
        self._deaf.over(time.monotonic())
        self._disordered.over(time.monotonic())
        await self._settle(name)
        if not self._has_failed():
            self.outcome.in_step[kind].append(self._in_step_at - mended)

    def _disturbed(self, faults: tuple[Fault, ...], began: float) -> None:
        nodes = {name: side.node for name, side in self.world.sides.items()}
        if found := disturbance(faults, began, time.monotonic() + TOLD_S, nodes):
            self.limits.disturb(found)

    async def _until_connected(self, mended: float) -> None:
        """Says when all parts were connected, if that was before every user had been asked for."""
        await until(self.world.is_in_step, "all parts to be connected again", self._patience_s)
        self._note(f"    connected after {(time.monotonic() - mended) * 1000:.0f} ms")

    async def _settle(self, name: str, *, final: bool = False) -> None:
        """Without new events, all parts soon say that they are in step: then they have to be."""

        async def is_quiet() -> bool:
            return self.publisher.is_done if final else self.publisher.is_quiet

        async def agree() -> bool:
            return await self.world.agrees(with_redis=final)

        self.publisher.pause()
        try:
            await until(is_quiet, "every event to be answered for", self._patience_s)
            await until(agree, "all parts to be in step", self._patience_s)
            await until(self._held, "Redis to hold every user's newest event", self._patience_s)
            now = self._in_step_at = time.monotonic()
            self.ledger.in_step(now)
            self.ledger.forget(now - _REQUEST_S_MAX)
            self.checker.want_everybody()
            await until(self._seen, "every user's newest event to be enforced", self._patience_s)
        except AssertionError as error:
            self._fail(f"after {name}: {error}")
        self.publisher.go()

    async def _finish(self) -> None:
        await self._settle("everything", final=True)
        try:
            await until(self.world.knows_itself, "blocks to be enforced everywhere", self._patience_s)
        except AssertionError as error:
            self._fail(str(error))
        self._note("all quiet")
        # What was reported before the last fault was over has come by then.
        await asyncio.sleep(TOLD_S)
        begin = time.monotonic()
        await asyncio.sleep(_CALM_S)
        self.limits.finish((begin, time.monotonic()))

    async def _held(self) -> bool:
        return await self.world.holds(self.ledger.newest())

    async def _seen(self) -> bool:
        return not self.checker.wanted or self._has_failed()

    def _has_failed(self) -> bool:
        return bool(self.outcome.failures or self.ledger.violations)

    def _fail(self, why: str) -> None:
        self.outcome.failures.append(why)
        self.outcome.missing += self.checker.wanted
        self._note(f"FAILED {why}")

    def _note(self, what: str) -> None:
        now = time.monotonic()
        self.outcome.notes.append((now, what))
        self._say(f"{now - self._started:7.2f} s  {what}")
