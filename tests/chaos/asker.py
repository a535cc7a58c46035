"""Asks one request at a time over a connection, and has it judged once: when the upstream gets it, or else by what
comes back."""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

from chaos.ledger import Request
from chaos.wire import Client

TIMEOUT_S = 2.0
# A request without an answer may still reach the upstream, but not after this long.
_STRAY_S = 60.0


@dataclass(frozen=True)
class Question:
    """Whom a node is asked for, and who judges the answer."""

    node: str
    user: str
    path: str
    judge: Callable[[Request], object]


class Asker:
    def __init__(self):
        self._numbers = itertools.count(1)
        self._asked: dict[int, tuple[Question, float]] = {}  # not arrived yet, by number
        self._arrived: dict[int, Request] = {}  # arrived, and not answered yet

    def arrived(self, number: int) -> None:
        """The upstream got this request: it was let through, whatever the client will hear."""
        if asked := self._asked.pop(number, None):
            question, sent = asked
            request = Request(question.node, question.user, sent, time.monotonic(), status=200)
            self._arrived[number] = request
            question.judge(request)

    def forget(self) -> None:
        """What was asked so long ago that it will not arrive any more."""
        oldest = time.monotonic() - _STRAY_S
        self._asked = {n: asked for n, asked in self._asked.items() if asked[1] > oldest}

    async def ask(self, client: Client, question: Question) -> Request:
        number, sent = next(self._numbers), time.monotonic()
        self._asked[number] = (question, sent)
        headers = f"x-user-id: {question.user}\r\nx-request: {number}\r\n"
        try:
            status, _ = await client.request("GET", question.path, headers)
        except (OSError, EOFError, TimeoutError) as error:
            # It may still arrive: it stays among those asked.
            status = 0 if isinstance(error, TimeoutError) else -1
        else:
            self._asked.pop(number, None)
        if arrived := self._arrived.pop(number, None):
            return arrived
        request = Request(question.node, question.user, sent, time.monotonic(), status)
        question.judge(request)
        return request
