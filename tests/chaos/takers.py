"""Asks every Envoy for more than the fleet's limits admit, all the while, and has each answer judged."""

import asyncio
import time

from chaos.asker import TIMEOUT_S, Asker, Question
from chaos.limits import LIMIT, Limits
from chaos.wire import Client
from chaos.world import World

# Of each user, at each node: more than the whole rate, so that a node that goes on alone is seen to.
PER_NODE_PER_S = 1.5 * LIMIT.per_second


class Takers:
    def __init__(self, limits: Limits, asker: Asker):
        self._limits, self._asker = limits, asker

    async def run(self, world: World) -> None:
        """Asks until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            for side in world.sides.values():
                for user, lane in self._limits.users.items():
                    question = Question(side.node, user, f"/{lane}", self._limits.judge)
                    group.create_task(self._keep_asking(question, side.envoy.port))

    async def _keep_asking(self, question: Question, port: int) -> None:
        client, due = Client(port, TIMEOUT_S), time.monotonic()
        try:
            while True:
                await self._asker.ask(client, question)
                # Not faster than that, also after a node that did not answer.
                due = max(due + 1 / PER_NODE_PER_S, time.monotonic())
                await asyncio.sleep(due - time.monotonic())
        finally:
            client.close()
