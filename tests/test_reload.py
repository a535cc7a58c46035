"""The listener's configuration changes while connections of the old one are drained."""

import time
from contextlib import contextmanager

import pytest

from harness import plugin
from harness.client import hammer
from harness.events import new_user
from harness.plugin import limits_only
from harness.stack import running

# Nothing of a test lasts so long: whatever is connected stays connected.
DRAIN_S = 600


def per_user(tokens: int, per_s: int) -> dict:
    rate = {"max_tokens": tokens, "tokens_per_fill": per_s, "fill_interval": "1s"}
    return {"name": "per-user", "key": "user", **rate}


@contextmanager
def reloadable(tmp_path, config: dict, **options):
    with running(config, lds=tmp_path / "listeners.json", drain_s=DRAIN_S, **options) as stack:
        yield stack


@pytest.mark.parametrize("old, new", [((100, 1), (10, 10)), ((10, 10), (100, 1)), ((50, 5), (20, 2))])
def test_a_changed_limit_gives_no_more_than_the_larger(tmp_path, user, old, new):
    """Old and new connections ask as fast as they can for the same user."""
    with reloadable(tmp_path, limits_only(per_user(*old)), daemon=False) as stack:
        before = [stack.edge.connect() for _ in range(4)]
        assert {one.get("/", new_user()).status for one in before} == {200}
        stack.edge.change(plugin=limits_only(per_user(*new)))
        after = [stack.edge.connect() for _ in range(4)]
        seen = hammer(before + after, 4.5, user=user)
        most = max(old[0], new[0]) + max(old[1], new[1]) * seen.elapsed_s
        assert seen.statuses[200] <= most, seen
        least = min(old[0], new[0]) + min(old[1], new[1]) * seen.demand_s
        assert seen.statuses[200] >= least - 1, seen
        assert sum(seen.statuses.values()) > 2 * most, "too little demand to prove anything"


def test_many_changes_in_a_row_give_no_more_than_the_largest(tmp_path, user):
    """Each configuration keeps connections of its own, and all of them ask."""
    rates = [(60, 1), (10, 10), (30, 3), (60, 1), (5, 20)]
    with reloadable(tmp_path, limits_only(per_user(1, 1)), daemon=False) as stack:
        connections = []
        for rate in rates:
            stack.edge.change(plugin=limits_only(per_user(*rate)))
            connections += [stack.edge.connect() for _ in range(2)]
            assert {one.get("/", new_user()).status for one in connections[-2:]} == {200}
        seen = hammer(connections, 4.0, user=user)
        assert seen.statuses[200] <= 60 + 20 * seen.elapsed_s, seen
        assert seen.statuses[200] >= 60, seen


def test_a_limit_that_comes_and_goes_with_the_configuration(tmp_path, user):
    """Taken away and put back, it goes on where it was."""
    one, none = limits_only({**per_user(5, 1), "fill_interval": "3600s"}), limits_only()
    with reloadable(tmp_path, one, daemon=False) as stack:
        assert [stack.edge.get("/", user).status for _ in range(6)] == [200] * 5 + [429]
        stack.edge.change(plugin=none)
        assert [stack.edge.get("/", user).status for _ in range(6)] == [200] * 6
        stack.edge.change(plugin=one)
        assert stack.edge.get("/", user).status == 429


def test_a_raised_limit_is_felt_at_once_by_who_never_stops_asking(tmp_path, user):
    slow = {**per_user(5, 1), "fill_interval": "3600s"}
    with reloadable(tmp_path, limits_only(slow), daemon=False) as stack:
        assert [stack.edge.get("/", user).status for _ in range(6)] == [200] * 5 + [429]
        stack.edge.change(plugin=limits_only(per_user(4, 10)))
        connections = [stack.edge.connect() for _ in range(2)]
        seen = hammer(connections, 1.0, user=user)
        assert 8 <= seen.statuses[200] <= 1 + 10 * seen.elapsed_s, seen


def test_an_override_that_comes_and_goes_gives_nothing(user):
    slow = {**per_user(10, 10), "fill_interval": "3600s"}
    with running(plugin.standard(limits=[slow])) as stack:
        started = time.monotonic()
        assert [stack.edge.get("/", user).status for _ in range(11)] == [200] * 10 + [429]
        fast = {"max_tokens": 10, "tokens_per_fill": 10, "fill_interval": "1s"}
        allowed = 0
        for _ in range(5):
            stack.daemon.override(user, name="per-user", **fast)
            allowed += stack.edge.get("/", user).status == 200
            stack.daemon.override(user, name="per-user", default=True)
            allowed += sum(stack.edge.get("/", user).status == 200 for _ in range(9))
        assert allowed <= 10 * (time.monotonic() - started)
