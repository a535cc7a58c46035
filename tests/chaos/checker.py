"""Asks all the while whether users get through, on every Envoy, and has each answer judged."""

import asyncio
import itertools
import random
import time

from chaos.ledger import Ledger, Request
from chaos.wire import Client
from chaos.world import World

_CONNECTIONS_PER_NODE = 6
# Each connection rests for so long between requests, to leave the machine to what is tested.
_REST_S = 0.008
_TIMEOUT_S = 2.0
# A request without an answer may still reach the upstream, but not after this long.
_STRAY_S = 60.0


class Checker:
    def __init__(self, ledger: Ledger):
        self._ledger = ledger
        self._users = list(ledger.events)
        self._numbers = itertools.count(1)
        self._asked: dict[int, tuple[str, str, float]] = {}  # not arrived yet, by number
        self._arrived: dict[int, Request] = {}  # arrived, and not answered yet
        self._random = random.Random()  # who is asked for is no part of the seed's story
        self._wanted: dict[str, set[str]] = {node: set() for node in ledger.nodes}

    def arrived(self, number: int) -> None:
        """The upstream got this request: it was let through, whatever the client will hear."""
        if asked := self._asked.pop(number, None):
            request = Request(*asked, decided=time.monotonic(), status=200)
            self._arrived[number] = request
            self._ledger.judge(request)

    async def run(self, world: World) -> None:
        """Asks for random users, or for those wanted, until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            for side in world.sides.values():
                for _ in range(_CONNECTIONS_PER_NODE):
                    group.create_task(self._keep_asking(side.node, side.envoy.port))

    def want_everybody(self) -> None:
        """From now on, until each user's newest event has been seen enforced on each node."""
        self._wanted = {node: set(self._users) for node in self._ledger.nodes}
        oldest = time.monotonic() - _STRAY_S
        self._asked = {n: asked for n, asked in self._asked.items() if asked[2] > oldest}

    def is_wanted(self, user: str) -> bool:
        return any(user in users for users in self._wanted.values())

    @property
    def wanted(self) -> list[tuple[str, str]]:
        """Node and user of what has not been seen yet."""
        return [(node, user) for node, users in self._wanted.items() for user in users]

    async def _keep_asking(self, node: str, port: int) -> None:
        client = Client(port, _TIMEOUT_S)
        try:
            while True:
                wanted = self._wanted[node]
                user = self._random.choice(list(wanted) if wanted else self._users)
                request = await self._ask(client, node, user)
                if wanted and self._ledger.is_current(request):
                    self._wanted[node].discard(user)
                else:
                    await asyncio.sleep(_REST_S)
        finally:
            client.close()

    async def _ask(self, client: Client, node: str, user: str) -> Request:
        number = next(self._numbers)
        sent = time.monotonic()
        self._asked[number] = (node, user, sent)
        headers = f"x-user-id: {user}\r\nx-request: {number}\r\n"
        try:
            status, _ = await client.request("GET", "/", headers)
        except (OSError, EOFError, TimeoutError) as error:
            # It may still arrive: it stays among those asked.
            status = 0 if isinstance(error, TimeoutError) else -1
        else:
            self._asked.pop(number, None)
        if arrived := self._arrived.pop(number, None):
            return arrived
        request = Request(node, user, sent, time.monotonic(), status)
        self._ledger.judge(request)
        return request
