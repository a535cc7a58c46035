"""Asks all the while whether users get through, on every Envoy, and has each answer judged."""

import asyncio
import random

from chaos.asker import TIMEOUT_S, Asker, Question
from chaos.ledger import Ledger
from chaos.wire import Client
from chaos.world import World

_CONNECTIONS_PER_NODE = 6
# Each connection rests for so long between requests, to leave the machine to what is tested.
_REST_S = 0.008


class Checker:
    def __init__(self, ledger: Ledger, asker: Asker):
        self._ledger, self._asker = ledger, asker
        self._users = list(ledger.events)
        self._random = random.Random()  # who is asked for is no part of the seed's story
        self._wanted: dict[str, set[str]] = {node: set() for node in ledger.nodes}

    async def run(self, world: World) -> None:
        """Asks for random users, or for those wanted, until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            for side in world.sides.values():
                for _ in range(_CONNECTIONS_PER_NODE):
                    group.create_task(self._keep_asking(side.node, side.envoy.port))

    def want_everybody(self) -> None:
        """From now on, until each user's newest event has been seen enforced on each node."""
        self._wanted = {node: set(self._users) for node in self._ledger.nodes}
        self._asker.forget()

    def is_wanted(self, user: str) -> bool:
        return any(user in users for users in self._wanted.values())

    @property
    def wanted(self) -> list[tuple[str, str]]:
        """Node and user of what has not been seen yet."""
        return [(node, user) for node, users in self._wanted.items() for user in users]

    async def _keep_asking(self, node: str, port: int) -> None:
        client = Client(port, TIMEOUT_S)
        try:
            while True:
                wanted = self._wanted[node]
                user = self._random.choice(list(wanted) if wanted else self._users)
                request = await self._asker.ask(client, Question(node, user, "/", self._ledger.judge))
                if wanted and self._ledger.is_current(request):
                    self._wanted[node].discard(user)
                else:
                    await asyncio.sleep(_REST_S)
        finally:
            client.close()
