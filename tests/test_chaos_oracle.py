"""Can the chaos test fail? Made-up ledgers, and the answers that break a promise or do not."""

import pytest

from chaos.faults import KINDS, Fault, Schedule, may_coincide
from chaos.ledger import (
    BLOCK,
    DENIED,
    FALSE_BLOCK,
    LET_THROUGH,
    LOST,
    UNBLOCK,
    Event,
    Ledger,
    Request,
)

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
    assert sorted(single) == sorted(kind.name for kind in KINDS)


def test_faults_that_cannot_be_at_once():
    kinds = {kind.name: kind for kind in KINDS}

    def fault(name: str, side: str = "a") -> Fault:
        return Fault(kinds[name], side, 1.0)

    flush, kill = fault("redis FLUSHALL"), fault("daemon kill -9")
    assert may_coincide(flush, kill), "daemon b has heard everything"
    assert not may_coincide(flush, fault("redis link silent")), "nobody might have"
    assert not may_coincide(kill, fault("daemon SIGSTOP"))
    assert may_coincide(kill, fault("daemon SIGSTOP", "b"))
    assert not may_coincide(fault("redis kill -9"), fault("redis link reset, stream trimmed"))


def test_what_is_newest_is_in_effect_by_its_own_answer(ledger):
    older = publish(ledger, BLOCK, 1.0)
    newest = publish(ledger, UNBLOCK, 2.0)
    ledger.denied(older, Request(A, "u", 1.0, 3.0, 200))
    assert ledger.violations == []
    ledger.denied(newest, Request(A, "u", 2.0, 3.0, 200))
    assert [violation.kind for violation in ledger.violations] == [DENIED]
