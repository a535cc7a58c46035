"""What can be broken, how it is mended, and in which order that is done for a seed."""

import asyncio
import random
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from chaos import damage
from chaos.world import Side, World

STREAM = "{portcullis}:stream"
# By how much each chunk on a slow link is late.
SLOW_S = (0.05, 0.3)
_AT_ONCE = ((0.0, 0.0),)


@dataclass(frozen=True)
class Kind:
    name: str
    begin: Callable[[World, Side], Awaitable[None] | None]
    end: Callable[[World, Side], Awaitable[None] | None]
    seconds: tuple[tuple[float, float], ...]  # how long it may last, between one pair of these
    part: str  # what it breaks: redis, daemon, redis_link, poll_link or envoy
    everything: bool = False  # breaks that part on both sides
    deafens: bool = True  # daemons may hear and write later than `publisher.COMMIT_WINDOW_S` allows
    disorders: bool = True  # they may hear later than what was answered for after it
    cuts_off: bool = True  # nodes may hear nothing of the fleet's buckets
    restarts: bool = False  # nodes forget what they know of them
    loses: bool = False  # Redis forgets them


@dataclass(frozen=True)
class Fault:
    kind: Kind
    side: str
    seconds: float

    @property
    def parts(self) -> frozenset[str]:
        """What it breaks, such as `redis` or `daemon-a`."""
        if self.kind.part == "redis":
            return frozenset(["redis"])
        sides = "ab" if self.kind.everything else self.side
        return frozenset(f"{self.kind.part}-{side}" for side in sides)

    @property
    def deaf(self) -> frozenset[str]:
        """The parts because of which a daemon may hear and write too late."""
        return self.parts if self.kind.deafens else frozenset()

    @property
    def disordered(self) -> frozenset[str]:
        """The parts because of which a daemon may hear in another order."""
        return self.parts if self.kind.disorders else frozenset()

    @property
    def touched(self) -> frozenset[str]:
        """The sides whose nodes have to do with what it breaks."""
        everywhere = self.kind.part == "redis" or self.kind.everything
        return frozenset("ab" if everywhere else self.side)

    def __str__(self) -> str:
        where = "" if self.kind.part == "redis" else "ab" if self.kind.everything else self.side
        lasting = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.kind.name}{' ' + where if where else ''}{lasting}"

    async def happen(self, world: World) -> None:
        """Breaks it, waits, and mends it: returns at the fault's end."""
        sides = list(world.sides) if self.kind.everything else [self.side]
        for side in sides:
            await _done(self.kind.begin(world, world.sides[side]))
        await asyncio.sleep(self.seconds)
        for side in sides:
            await _done(self.kind.end(world, world.sides[side]))


async def _done(step: Awaitable[None] | None) -> None:
    if step is not None:
        await step


async def _flush(world: World, _: Side) -> None:
    await world.client.flushall()


async def _trim(world: World, side: Side) -> None:
    """What the stream would have told the daemon that is cut off is gone when it is back."""
    await world.client.xtrim(STREAM, maxlen=0, approximate=False)
    side.redis_link.heal()


def _lose_store(_: World, side: Side) -> None:
    """The disk is gone as well, and nobody knows that there ever was one."""
    shutil.rmtree(side.daemon.store)
    side.daemon.store.with_name(f"{side.daemon.store.name}.witness").unlink()
    side.daemon.start(wait=False)


async def _hang_up(world: World, _: Side) -> None:
    await world.client.script_flush()
    await world.client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    await world.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def _nothing(_world: World, _side: Side) -> None:
    pass


def _damage(name: str, do: Callable[[World], Awaitable[None]]) -> Kind:
    """Keys in Redis are not what they were. Everybody goes on hearing, in order and in time."""

    async def begin(world: World, _: Side) -> None:
        await do(world)

    quiet = {"deafens": False, "disorders": False, "cuts_off": False}
    return Kind(name, begin, _nothing, _AT_ONCE, "redis", **quiet)


# Some longer and most shorter than what a daemon takes for a dead connection (2.5 s), and than what
# an Envoy takes for stale (3 s).
_PAUSE = ((0.4, 1.2), (0.4, 1.2), (3.1, 4.0))
_DOWN = ((0.0, 0.2), (0.5, 1.5))
_LONG = ((6.0, 8.0),)


def _process(world: World, side: Side, part: str):
    return {"redis": world.redis, "daemon": side.daemon, "envoy": side.envoy}[part].process


def _stopped(name: str, part: str, seconds: tuple[tuple[float, float], ...], **more) -> Kind:
    """A process is stopped, and goes on."""
    return Kind(
        name,
        lambda world, side: _process(world, side, part).pause(),
        lambda world, side: _process(world, side, part).resume(),
        seconds,
        part,
        **more,
    )


KINDS = [
    Kind(
        "redis kill -9",
        lambda world, _: world.redis.process.kill(),
        lambda world, _: world.redis.start(wait=False),
        _DOWN,
        "redis",
    ),
    _stopped("redis SIGSTOP", "redis", _PAUSE),
    Kind("redis FLUSHALL", _flush, _nothing, _AT_ONCE, "redis", cuts_off=False, loses=True),
    Kind("redis hangs up on all", _hang_up, _nothing, _AT_ONCE, "redis"),
    Kind(
        "redis link reset",
        lambda _, side: side.redis_link.cut(),
        lambda _, side: side.redis_link.heal(),
        _PAUSE,
        "redis_link",
    ),
    Kind(
        "redis link silent",
        lambda _, side: side.redis_link.silence(),
        lambda _, side: side.redis_link.heal(),
        _PAUSE,
        "redis_link",
        everything=True,
    ),
    Kind(
        "redis link reset, stream trimmed",
        lambda _, side: side.redis_link.cut(),
        _trim,
        _PAUSE,
        "redis_link",
    ),
    Kind(
        "daemon kill -9",
        lambda _, side: side.daemon.process.kill(),
        lambda _, side: side.daemon.start(wait=False),
        _DOWN,
        "daemon",
    ),
    Kind(
        "daemon kill -9, store lost",
        lambda _, side: side.daemon.process.kill(),
        _lose_store,
        _DOWN,
        "daemon",
    ),
    _stopped("daemon SIGSTOP", "daemon", _PAUSE),
    Kind(
        "poll link silent",
        lambda _, side: side.poll_link.silence(),
        lambda _, side: side.poll_link.heal(),
        _PAUSE,
        "poll_link",
    ),
    Kind(
        "envoy kill -9",
        lambda _, side: side.envoy.process.kill(),
        lambda _, side: side.envoy.start(wait=False),
        _DOWN,
        "envoy",
        restarts=True,
    ),
    _stopped("envoy SIGSTOP", "envoy", _PAUSE),
    _stopped("both daemons SIGSTOP", "daemon", _PAUSE, everything=True),
    Kind(
        "redis link slow",
        lambda _, side: side.redis_link.slow(SLOW_S),
        lambda _, side: side.redis_link.heal(),
        ((1.0, 3.0),),
        "redis_link",
        # Two delays in a row are less than the time after which a bare event is answered for.
        disorders=False,
    ),
    _damage("user states deleted", damage.delete_states),
    _damage("user states of a wrong type", damage.spoil_states),
    _damage("user states renamed away", damage.rename_states),
    _damage("user states renamed over others'", damage.mix_states),
    _damage("digest deleted", damage.delete_digest),
    _damage("digest of a wrong type", damage.spoil_digest),
]

# One of these in each round: they take their time.
RARE = [
    _stopped("daemon SIGSTOP, long", "daemon", _LONG),
    _stopped("redis SIGSTOP, long", "redis", _LONG),
]


class Schedule:
    """Rounds of faults: each kind once in an order of its own, one that is rare, and between them some
    at once."""

    def __init__(self, seed: int, pairs: int):
        self._random = random.Random(seed)
        self._pairs = pairs

    def round(self) -> list[tuple[Fault, ...]]:
        steps = [(self._fault(kind),) for kind in [*KINDS, self._random.choice(RARE)]]
        steps += [self._pair() for _ in range(self._pairs)]
        self._random.shuffle(steps)
        return steps

    def _fault(self, kind: Kind) -> Fault:
        seconds = round(self._random.uniform(*self._random.choice(kind.seconds)), 1)
        return Fault(kind, self._random.choice("ab"), seconds)

    def _pair(self) -> tuple[Fault, ...]:
        while True:
            pair = tuple(self._fault(kind) for kind in self._random.choices(KINDS, k=2))
            if may_coincide(*pair):
                return pair


class Pauses:
    """A daemon, and then Redis, stopped for so long; once."""

    def __init__(self, seed: int, seconds: float):
        kinds = [kind for kind in RARE if kind.name.endswith("SIGSTOP, long")]
        self._steps = [(Fault(kind, "ab"[seed % 2], seconds),) for kind in kinds]

    def round(self) -> list[tuple[Fault, ...]]:
        return self._steps


def may_coincide(one: Fault, other: Fault) -> bool:
    """Not two faults of the same part; and what FLUSHALL erases, one daemon has to have heard, as Redis what
    is lost with a daemon's store.

    What damage takes from a user's state is in the stream still, also for daemons that were deaf
    meanwhile: but not if the stream is trimmed.
    """
    if one.parts & other.parts:
        return False
    for fault, beside in ((one, other), (other, one)):
        if fault.kind.begin is _flush:
            return not beside.kind.everything
        # What it has answered for without Redis is lost.
        if fault.kind.end is _lose_store:
            if beside.kind.part == "redis" and beside.deaf and beside.kind.begin is not _flush:
                return False
            if f"redis_link-{fault.side}" in beside.parts:
                return False
        # Redis has to be there to be trimmed.
        if fault.kind.end is _trim and beside.kind.part == "redis":
            return False
    return True
