"""The benchmark measures what it says, and its check can fail. How fast anything is, no test asks."""

import json
import sys
from types import SimpleNamespace

import pytest

from harness import artifacts

sys.path.insert(0, str(artifacts.REPOSITORY))

from bench import goals, inline, load, regression, report, rounds, rows

UNIT = 10.0


def results(**added: float) -> dict[str, rounds.Result]:
    """What a run would have measured: no filter costs UNIT, each row so much more."""
    made = {}
    for name, more in {"no filter": 0.0, **added}.items():
        row = rows.Row(name, [], rows.uniform(1))
        made[name] = rounds.Result(row, [rounds.Sample(UNIT + more, 0, 1000, 1, 2, 3)] * 3)
    return made


def test_what_is_added_is_the_median_of_the_differences():
    assert report.added(results(gate=4.0), "gate") == 4.0


def test_goals_are_told_of_what_was_measured():
    measured = results(**{goals.GATE: 3.0, goals.LOCAL: 2.0})
    [(goal, value)] = goals.reached(measured)
    assert (goal.name, value, goal.is_met(value)) == ("allowed", 1.5, True)
    [(goal, value)] = goals.reached(results(**{goals.GATE: 3.1, goals.LOCAL: 2.0}))
    assert not goal.is_met(value)


def test_the_cost_of_a_fleets_limit_is_that_of_whole_requests():
    measured = results(**{goals.FLEET: 12.0, goals.GATE: 10.0})
    [(goal, value)] = goals.reached(measured)
    assert (goal.name, value, goal.is_met(value)) == ("fleet", pytest.approx(22 / 20), True)
    [(goal, value)] = goals.reached(results(**{goals.FLEET: 12.1, goals.GATE: 10.0}))
    assert not goal.is_met(value)


def test_native_goals_are_told_of_the_native_rows():
    native = goals.ON_NATIVE
    rejects = {goals.LOCAL_REJECTS: 2.0, native[goals.BLOCKED]: 2.6}
    signatures = {goals.SIGNED: 40.0, native[goals.SIGNED]: 14.1}
    reached = goals.reached(results(**{goals.LOCAL: 2.0, native[goals.GATE]: 2.0}, **rejects, **signatures))
    found = {goal.name: goal.is_met(value) for goal, value in reached if goal.name.startswith("native")}
    assert found == {"native, allowed": True, "native, blocked": True, "native, signed": False}


def test_every_row_of_the_gate_is_there_once_on_each_host():
    """One beside the other, so that a reader compares them."""
    names = [row.name for row in rows.ours(SimpleNamespace(process=None, poll_address="unix:/nowhere"))]
    pairs = list(zip(names[::2], names[1::2], strict=True))
    assert pairs and all(native == f"native {wasm}" for wasm, native in pairs)


def test_the_check_fails_beyond_its_tolerance(tmp_path, monkeypatch):
    monkeypatch.setattr(regression, "BASELINE", tmp_path / "baseline.json")
    regression.accept(results(**{goals.GATE: 5.0, goals.LOCAL: 2.0}))
    assert json.loads(regression.BASELINE.read_text()) == {goals.GATE: round(5 / 12, 3)}
    within, beyond = 5.0 * (1 + regression.TOLERANCE) * 0.99, 5.0 * (1 + regression.TOLERANCE) * 1.01
    assert regression.check(results(**{goals.GATE: within, goals.LOCAL: 2.0})) == []
    [line] = regression.check(results(**{goals.GATE: beyond, goals.LOCAL: 2.0}))
    assert line.startswith(goals.GATE)


def test_the_committed_baseline_has_every_row_of_the_check():
    assert set(json.loads(regression.BASELINE.read_text())) == set(regression.ROWS)


@pytest.fixture
def edges(tmp_path):
    every = [row for row in rows.no_filter() + rows.envoys_own() if row.name in {"no filter", *LIMITED}]
    with rounds.running(every, tmp_path, artifacts.envoy()) as running:
        yield running


LIMITED = {"local_ratelimit", "local_ratelimit, rejects"}


def test_rows_are_measured_with_real_envoys(edges):
    measured = rounds.measure(edges, rounds=1, seconds=1, say=lambda _: None)
    assert {result.row.name for result in measured} == {"no filter", *LIMITED}
    for result in measured:
        [sample] = result.samples
        assert sample.cpu_us > 0 and sample.per_second > 0, result.row.name
    assert inline.section(edges).figures == {}, "none of them is ours"


def test_a_row_that_does_something_else_is_not_measured(edges):
    [(row, edge)] = [(row, edge) for row, edge in edges if row.rejected]
    run = load.run(edge.port, row.load(), 1)
    with pytest.raises(rounds.Unfit):
        rounds.check(rows.Row("lets everything through", [], row.load), run)
