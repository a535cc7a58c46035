"""Can the chaos test fail? Made-up ledgers, and the answers that break a promise or do not; and faults
that have to do what they say."""

import asyncio
import contextlib
import json
import random
import time

import pytest
import redis.asyncio

from chaos import damage
from chaos.faults import KINDS, RARE, SLOW_S, Fault, Schedule, may_coincide
from chaos.ledger import (
    BLOCK,
    DENIED,
    FALSE_BLOCK,
    LET_THROUGH,
    LOST,
    NOT_EVERYWHERE,
    UNBLOCK,
    Event,
    Ledger,
    Request,
)
from chaos.proxy import Link
from chaos.publisher import COMMIT_WINDOW_S, script
from chaos.run import Breakage
from chaos.world import STATE, World, digest_of
from harness import events, ports
from harness.redis_server import Redis

A, B = "edge-a", "edge-b"


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(["u"], [A, B])


def publish(ledger: Ledger, action: str, at: float, receipt: float | None = None, on=(A, B)):
    event = Event(f"{action}-{at}", "u", action, "api", at)
    ledger.publish(event)
    if receipt is not None:
        ledger.receipt(event, list(on), receipt)
    return event


def ask(ledger: Ledger, status: int, sent: float, decided: float, node: str = A) -> str | None:
    violation = ledger.judge(Request(node, "u", sent, decided, status))
    return violation and violation.kind


def test_let_through_only_counts_from_the_acknowledgement(ledger):
    publish(ledger, BLOCK, 1.0, receipt=2.0)
    assert ask(ledger, 200, sent=1.9, decided=2.5) is None
    assert ask(ledger, 403, sent=1.5, decided=1.6) is None
    assert ask(ledger, 200, sent=2.0, decided=2.1) == LET_THROUGH
    assert ask(ledger, 200, sent=9.0, decided=9.1) == LET_THROUGH
    assert len(ledger.violations) == 2 and "block-1.0" in str(ledger.violations[0])


def test_only_the_nodes_of_the_receipt_are_held_to_it(ledger):
    publish(ledger, BLOCK, 1.0, receipt=2.0, on=[A])
    assert ask(ledger, 200, sent=3.0, decided=3.1, node=B) is None
    assert ask(ledger, 200, sent=3.0, decided=3.1, node=A) == LET_THROUGH


def test_what_is_said_of_the_fleet_holds_each_node_to_it_and_leaves_none_out(ledger):
    event = publish(ledger, BLOCK, 1.0)
    call = Request(A, "u", 1.0, 2.0, 202)
    ledger.fleet(event, False, [B], call)
    assert ask(ledger, 200, sent=3.0, decided=3.1, node=A) is None, "nothing was said of it"
    assert ask(ledger, 200, sent=1.9, decided=3.1, node=B) is None, "it was not said yet"
    assert ask(ledger, 200, sent=3.0, decided=3.1, node=B) == LET_THROUGH
    assert len(ledger.violations) == 1
    ledger.fleet(event, True, [A, B], call)
    assert len(ledger.violations) == 1 and ledger.everywhere == {True: 1, False: 1}
    assert ask(ledger, 200, sent=3.0, decided=3.1, node=A) == LET_THROUGH
    ledger.fleet(event, True, [B], call)
    assert ledger.violations[-1].kind == NOT_EVERYWHERE


def test_an_unblock_counts_from_its_publishing(ledger):
    publish(ledger, BLOCK, 1.0, receipt=2.0)
    publish(ledger, UNBLOCK, 3.0)
    assert ask(ledger, 200, sent=2.5, decided=2.9) == LET_THROUGH
    assert ask(ledger, 200, sent=2.5, decided=3.0) is None
    assert ask(ledger, 403, sent=4.0, decided=4.1) is None, "not acknowledged yet"


def test_an_unblock_excuses_nothing_that_is_blocked_after_it(ledger):
    publish(ledger, BLOCK, 1.0, receipt=2.0)
    publish(ledger, UNBLOCK, 3.0, receipt=4.0)
    publish(ledger, BLOCK, 5.0)
    assert ask(ledger, 200, sent=6.0, decided=6.1) is None, "not acknowledged yet"
    ledger.receipt(ledger.events["u"][-1], [A], 7.0)
    assert ask(ledger, 200, sent=7.0, decided=7.1) == LET_THROUGH


def test_false_block_after_an_acknowledged_unblock(ledger):
    publish(ledger, BLOCK, 1.0, receipt=2.0)
    publish(ledger, UNBLOCK, 3.0, receipt=4.0)
    assert ask(ledger, 403, sent=3.9, decided=4.5) is None, "it may have been decided before"
    assert ask(ledger, 403, sent=4.0, decided=4.5) == FALSE_BLOCK
    publish(ledger, BLOCK, 5.0)
    assert ask(ledger, 403, sent=4.2, decided=4.9) == FALSE_BLOCK
    assert ask(ledger, 403, sent=4.2, decided=5.0) is None, "that may be the new one"


def test_false_block_of_somebody_never_blocked(ledger):
    assert ask(ledger, 403, sent=1.0, decided=1.1) == FALSE_BLOCK
    publish(ledger, UNBLOCK, 2.0)
    assert ask(ledger, 403, sent=3.0, decided=3.1) == FALSE_BLOCK


def test_a_late_older_block_is_a_false_block(ledger):
    publish(ledger, BLOCK, 1.0)
    publish(ledger, UNBLOCK, 2.0, receipt=3.0)
    assert ask(ledger, 403, sent=3.5, decided=3.6) == FALSE_BLOCK


def test_lost_block(ledger):
    """The script has returned, all parts say that they are in step, and still it is not there."""
    event = publish(ledger, BLOCK, 1.0)
    ledger.in_step(2.0)
    assert ask(ledger, 200, sent=3.0, decided=3.1) is None, "nobody has promised anything"
    ledger.promise(event, 3.5)
    assert ask(ledger, 200, sent=4.0, decided=4.1) is None, "it may still be under way"
    ledger.in_step(5.0)
    assert ask(ledger, 200, sent=5.0, decided=5.1, node=B) == LOST


def test_lost_unblock(ledger):
    publish(ledger, BLOCK, 1.0, receipt=2.0)
    ledger.promise(publish(ledger, UNBLOCK, 3.0), 3.1)
    ledger.in_step(4.0)
    assert ask(ledger, 403, sent=4.1, decided=4.2) == FALSE_BLOCK


def test_not_served_is_neither(ledger):
    publish(ledger, BLOCK, 1.0, receipt=2.0)
    assert ask(ledger, 503, sent=3.0, decided=3.1) is None
    assert ask(ledger, 0, sent=3.0, decided=5.0) is None
    assert ledger.answers == {503: 1, 0: 1}


@pytest.mark.parametrize("last", [BLOCK, UNBLOCK])
def test_forgetting_changes_no_verdict(ledger, last):
    for at in (1.0, 3.0):
        publish(ledger, BLOCK, at, receipt=at + 0.5)
        publish(ledger, UNBLOCK, at + 1, receipt=at + 1.5)
    if last == BLOCK:
        publish(ledger, BLOCK, 5.0, receipt=5.5)
    publish(ledger, UNBLOCK, 9.0)
    ledger.forget(before=8.0)
    assert len(ledger.events["u"]) == 2
    assert ask(ledger, 200, sent=8.0, decided=8.1) == (LET_THROUGH if last == BLOCK else None)
    assert ask(ledger, 403, sent=8.0, decided=8.1) == (FALSE_BLOCK if last == UNBLOCK else None)


def test_nothing_is_forgotten_before_it_is_proven_everywhere(ledger):
    publish(ledger, BLOCK, 1.0, receipt=2.0)
    publish(ledger, UNBLOCK, 3.0, receipt=4.0, on=[A])
    ledger.forget(before=9.0)
    assert len(ledger.events["u"]) == 2


def test_recovery_means_the_answer_of_the_newest_event(ledger):
    def is_current(status: int, sent: float) -> bool:
        return ledger.is_current(Request(A, "u", sent, sent + 0.1, status))

    assert is_current(200, 1.0) and not is_current(503, 1.0)
    publish(ledger, BLOCK, 2.0)
    assert is_current(403, 2.1) and not is_current(200, 2.1) and not is_current(403, 1.9)
    publish(ledger, UNBLOCK, 3.0)
    assert is_current(200, 3.1) and not is_current(403, 3.1)


def test_only_a_newest_event_that_is_promised_has_to_be_kept(ledger):
    assert ledger.newest() == {}
    publish(ledger, BLOCK, 1.0, receipt=2.0)
    assert ledger.newest() == {"u": "block-1.0"}
    publish(ledger, UNBLOCK, 3.0)
    assert ledger.newest() == {}


def test_timeline_tells_the_story_in_order(ledger):
    publish(ledger, BLOCK, 1.0, receipt=2.0, on=[A])
    for sent, status in [(0.5, 200), (0.7, 200), (1.5, 200), (2.5, 403), (3.0, 200)]:
        ask(ledger, status, sent, sent + 0.1)
    assert ledger.timeline("u") == [
        (0.5, "asked edge-a: 200, 3 times in a row"),
        (1.0, "block block-1.0 published by api"),
        (2.0, "block block-1.0 answered for"),
        (2.0, "block block-1.0 enforced on edge-a (receipt)"),
        (2.5, "asked edge-a: 403, 1 times in a row"),
        (3.0, "asked edge-a: 200, 1 times in a row"),
    ]


def test_a_seed_decides_the_faults():
    first, again = Schedule(7, pairs=4), Schedule(7, pairs=4)
    rounds = [first.round(), first.round()]
    assert rounds == [again.round(), again.round()]
    assert rounds[0] != rounds[1] and rounds[0] != Schedule(8, pairs=4).round()
    single = [step[0].kind.name for step in rounds[0] if len(step) == 1]
    (rare,) = [name for name in single if name in {kind.name for kind in RARE}]
    assert sorted(single) == sorted([rare, *(kind.name for kind in KINDS)])


def fault(name: str, side: str = "a") -> Fault:
    (kind,) = [kind for kind in [*KINDS, *RARE] if kind.name == name]
    return Fault(kind, side, 1.0)


def test_faults_that_cannot_be_at_once():
    flush, kill = fault("redis FLUSHALL"), fault("daemon kill -9")
    assert may_coincide(flush, kill), "daemon b has heard everything"
    assert not may_coincide(flush, fault("redis link silent")), "nobody might have"
    assert not may_coincide(kill, fault("daemon SIGSTOP"))
    assert may_coincide(kill, fault("daemon SIGSTOP", "b"))
    assert not may_coincide(fault("redis kill -9"), fault("redis link reset, stream trimmed"))
    both = fault("both daemons SIGSTOP")
    assert not may_coincide(flush, both) and not may_coincide(kill, both)
    assert not may_coincide(fault("daemon SIGSTOP, long", "b"), both)
    deleted = fault("user states deleted")
    assert may_coincide(deleted, both) and may_coincide(deleted, fault("redis link silent")), (
        "the stream still has it"
    )
    assert not may_coincide(deleted, fault("redis link reset, stream trimmed")), "now it has not"
    assert not may_coincide(deleted, fault("redis kill -9")), "there is nothing to be damaged"
    lost = fault("daemon kill -9, store lost")
    assert (
        may_coincide(lost, flush)
        and may_coincide(lost, deleted)
        and may_coincide(lost, fault("envoy SIGSTOP"))
    )
    for unreachable in ["redis SIGSTOP", "redis kill -9", "redis link reset", "redis link silent"]:
        assert not may_coincide(lost, fault(unreachable)), "only that store may have it"
    assert may_coincide(lost, fault("redis link reset", "b"))


def test_only_what_makes_a_daemon_late_excuses_it():
    """A link that is slow delays a bare event's commit; damage excuses neither that nor a denial."""
    for name in ["user states deleted", "user states renamed over others'", "digest of a wrong type"]:
        assert not fault(name).deaf and not fault(name).disordered
    slow = fault("redis link slow", "b")
    assert slow.deaf == {"redis_link-b"} and not slow.disordered
    assert 2 * SLOW_S[1] < COMMIT_WINDOW_S, "what was answered for has been heard"
    both = fault("both daemons SIGSTOP")
    assert both.deaf == both.disordered == {"daemon-a", "daemon-b"}


def test_an_excuse_counts_from_the_fault_until_it_is_mended():
    breakage = Breakage()
    assert breakage.is_clean({"redis"}, 0.0)
    breakage.begin([frozenset(["daemon-a"]), frozenset(["redis"])])
    assert not breakage.is_clean({"redis"}, 1.0) and breakage.is_clean({"daemon-b"}, 1.0)
    breakage.over(5.0)
    assert not breakage.is_clean({"redis", "daemon-b"}, 4.9) and breakage.is_clean({"redis"}, 5.0)


def test_what_is_newest_is_in_effect_by_its_own_answer(ledger):
    older = publish(ledger, BLOCK, 1.0)
    newest = publish(ledger, UNBLOCK, 2.0)
    ledger.denied(older, Request(A, "u", 1.0, 3.0, 200))
    assert ledger.violations == []
    ledger.denied(newest, Request(A, "u", 2.0, 3.0, 200))
    assert [violation.kind for violation in ledger.violations] == [DENIED]


class _Damaged:
    """As much of a world as damage needs: a real Redis, with some users' events by the real script."""

    _stored = World._stored

    def __init__(self, server: Redis):
        self.client = redis.asyncio.Redis(port=server.port)
        self.random = random.Random(7)

    async def publish(self, users: list[str]) -> None:
        for user in users:
            made = events.event("block", user)
            keys = [f"{STATE}{user}", *(f"{{portcullis}}:{key}" for key in ("subjects", "stream", "digest"))]
            content = [Redis.CHANNEL, f"user:{user}", made["event_id"], json.dumps(made)]
            await self.client.eval(script().read_text(), len(keys), *keys, *content, 1000, 256)

    async def types(self) -> dict[str, str]:
        keys = await self.client.keys("*")
        return {key.decode(): (await self.client.type(key)).decode() for key in keys}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    started = Redis(tmp_path_factory.mktemp("redis"))
    yield started
    started.close()


def damaged(server: Redis, do) -> tuple[dict[str, str], dict[str, str], tuple[list[str], list[str]]]:
    """The types of all keys before and after, and what is stored then."""

    async def run():
        world = _Damaged(server)
        await world.client.flushall()
        await world.publish([f"user-{number:03}" for number in range(20)])
        stored, misplaced = await world._stored()
        counted = await world.client.hmget("{portcullis}:digest", "count", "sum")
        assert digest_of(stored) == tuple(int(number) for number in counted) and not misplaced
        before = await world.types()
        await do(world)
        after = await world.types()
        stored = None if do is damage.spoil_states else await world._stored()
        await world.client.aclose()
        return before, after, stored

    return asyncio.run(run())


def test_damage_is_done(server):
    before, after, (stored, _) = damaged(server, damage.delete_states)
    assert len(before) - len(after) == 12 and len(stored) == 8
    before, after, _ = damaged(server, damage.spoil_states)
    changed = {after[key] for key in before if before[key] != after[key]}
    assert before.keys() == after.keys() and changed == {"string", "set", "list", "stream"}
    before, after, (stored, _) = damaged(server, damage.rename_states)
    assert len(after) == len(before) and len(after.keys() - before.keys()) == 12 and len(stored) == 8
    before, after, (stored, misplaced) = damaged(server, damage.mix_states)
    assert len(before) - len(after) == 6 and (len(stored), len(misplaced)) == (8, 6)
    before, after, _ = damaged(server, damage.delete_digest)
    assert before.keys() - after.keys() == {"{portcullis}:digest"}
    before, after, _ = damaged(server, damage.spoil_digest)
    assert after["{portcullis}:digest"] == "string"


def test_a_slow_link_is_late_in_order_and_a_switched_one_leads_elsewhere():
    async def run():
        async def answer(reader, writer, name: bytes):
            with contextlib.suppress(OSError):
                while line := await reader.readline():
                    writer.write(name + line)

        far = [
            await asyncio.start_server(lambda r, w, n=name: answer(r, w, n), "127.0.0.1", ports.free())
            for name in (b"one ", b"two ")
        ]
        first, second = [server.sockets[0].getsockname()[1] for server in far]
        link = Link(ports.free(), first)
        await link.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", link.near)
        link.slow((0.05, 0.1))
        asked = time.monotonic()
        for number in range(5):
            writer.write(b"%d\n" % number)
            await asyncio.sleep(0.01)
        lines = [await reader.readline() for _ in range(5)]
        assert lines == [b"one %d\n" % number for number in range(5)]
        assert 0.1 < time.monotonic() - asked < 1.5
        link.heal()
        link.switch(second)
        with contextlib.suppress(ConnectionError):
            assert await reader.readline() == b"", "the old connection has ended"
        reader, writer = await asyncio.open_connection("127.0.0.1", link.near)
        writer.write(b"x\n")
        assert await reader.readline() == b"two x\n"
        link.close()

    asyncio.run(run())
