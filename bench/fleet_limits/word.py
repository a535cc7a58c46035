"""How long it takes until other nodes know what one has taken, measured beside the requests of a pattern.

A *story* is about a value that no request has had before, under a limit of its own (`contenders.WORD`). One node is
asked for the whole bucket at once. From then on another one is asked every few milliseconds, until it rejects. The
time from the one to the other is D of the formula, or a little more: what the client needs is in it.
"""

import asyncio
import contextlib
import itertools
import random
import uuid
from dataclasses import dataclass, field

from bench.fleet_limits import log as logs
from bench.fleet_limits.client import Client, request
from bench.fleet_limits.contenders import WORD, WORD_HEADER
from bench.fleet_limits.log import Entry

_EVERY_S = 0.5
_ASK_EVERY_S = 0.003


@dataclass
class Word:
    """What was measured: seconds, one for each story."""

    told_s: list[float] = field(default_factory=list)
    # Of stories in which the other node has let a whole bucket of its own through first.
    never: int = 0
    asked: int = 0
    let_through: int = 0
    undecided: int = 0

    def count(self, *entries: Entry) -> None:
        self.asked += len(entries)
        self.let_through += sum(entry.is_admitted for entry in entries)
        self.undecided += sum(not entry.is_decided for entry in entries)

    @property
    def p50_s(self) -> float:
        return logs.quantile(self.told_s, 0.5)

    @property
    def max_s(self) -> float:
        return max(self.told_s, default=0.0)


async def measure(client: Client, word: Word, over: asyncio.Event) -> None:
    """One story after the other, until it is over."""
    run = uuid.uuid4().hex[:8]
    for number in itertools.count():
        await _story(client, word, f"{run}-{number}", random.sample(range(len(client.nodes)), 2))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), _EVERY_S)
        if over.is_set():
            return


async def _story(client: Client, word: Word, value: str, nodes: list[int]) -> None:
    asked = request("/", f"{WORD_HEADER}: {value}")
    first, second = nodes
    taken = await asyncio.gather(*(client.ask(first, asked) for _ in range(WORD.tokens)))
    word.count(*taken)
    let = [entry.sent_s for entry in taken if entry.is_admitted]
    if not let:
        return
    for _ in range(2 * WORD.tokens):
        answer = await client.ask(second, asked)
        word.count(answer)
        if answer.status == logs.REJECTED:
            word.told_s.append(answer.answered_s - max(let))
            return
        await asyncio.sleep(_ASK_EVERY_S)
    word.never += 1
