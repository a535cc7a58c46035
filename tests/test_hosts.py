"""The hosts of the gate beside each other: moving from one to the other loses no block."""

import shutil
from pathlib import Path

import pytest

import selection
from harness import hosts, plugin, ports
from harness.asking import asking
from harness.client import Connection
from harness.events import new_user
from harness.plugin import limits_only
from harness.proc import wait_until
from harness.stack import Stack, running

there_and_back = pytest.mark.parametrize(
    "first, second", [(hosts.WASM, hosts.NATIVE), (hosts.NATIVE, hosts.WASM)], ids=lambda host: host.name
)
# Each of them starts both hosts, whichever was chosen.
pytestmark = pytest.mark.one_host(
    hosts.DEFAULT, reason="these have both hosts in one Envoy, and need to run once"
)
ROOMY = {**plugin.PER_USER, "max_tokens": 100_000}


def test_the_core_names_files_that_are_there():
    here = Path(__file__).parent
    assert [name for name in selection.CORE if not (here / name).exists()] == []


def every_node_applied(stack: Stack) -> bool:
    status = stack.daemon.status()
    connected = [node for node in status["nodes"] if node["connected"]]
    return bool(connected) and all(node["applied"] == status["sequence"] for node in connected)


@there_and_back
def test_a_listener_that_changes_hosts_lets_no_blocked_user_pass(tmp_path, user, first, second):
    """Until the other host is told everything, `never_synced` answers; that is the worst of it."""
    gate = plugin.standard(limits=[ROOMY])
    with running(gate, lds=tmp_path / "listeners.json", host=first) as stack:
        stack.daemon.block(user)
        bystander = new_user()
        with asking(stack.edge.port, user) as blocked, asking(stack.edge.port, bystander) as other:
            for host in second, first:
                stack.edge.change(host=host)
                wait_until(lambda: every_node_applied(stack), f"{host.name} to be told everything")
                wait_until(lambda: stack.edge.get("/", user).status == 403, "the block")
                wait_until(lambda: stack.edge.get("/", new_user()).status == 200, "everybody else")
        # Connections of a listener that goes may be closed without an answer.
        assert set(blocked) <= {403, 503, 0} and blocked[403] > 0, blocked
        assert set(other) <= {200, 503, 0} and other[200] > 0, other


def test_another_file_of_the_native_module_is_a_move_as_well(tmp_path, user):
    """What Envoy has loaded from another place has a memory of its own: an update without a restart."""
    newer = tmp_path / "libportcullis-newer.so"
    shutil.copy(hosts.NATIVE.module(), newer)
    with running(
        plugin.standard(limits=[ROOMY]), lds=tmp_path / "listeners.json", host=hosts.NATIVE
    ) as stack:
        stack.daemon.block(user)
        with asking(stack.edge.port, user) as blocked:
            stack.edge.change(module=newer)
            wait_until(lambda: every_node_applied(stack), "the newer one to be told everything")
            wait_until(lambda: stack.edge.get("/", new_user()).status == 200, "everybody else")
            assert stack.edge.get("/", user).status == 403
        assert set(blocked) <= {403, 503, 0} and blocked[403] > 0, blocked
        assert str(newer) in Path(f"/proc/{stack.edge.process.pid}/maps").read_text()


@there_and_back
def test_a_host_that_was_warmed_up_takes_over_without_a_refusal(tmp_path, user, first, second):
    """On a listener of its own it is told everything before the first request comes to it."""
    gate = plugin.standard(limits=[ROOMY])
    aside = ports.free()
    with running(gate, lds=tmp_path / "listeners.json", host=first) as stack:
        stack.daemon.block(user)
        stack.edge.change(aside={aside: second})
        with Connection(aside) as client:
            wait_until(lambda: client.get("/", user).status == 403, "the other host to know")
        bystander = new_user()
        with asking(stack.edge.port, user) as blocked, asking(stack.edge.port, bystander) as other:
            stack.edge.change(host=second)
            for _ in range(200):
                assert stack.edge.get("/", user).status == 403
                assert stack.edge.get("/", new_user()).status == 200
        assert set(blocked) <= {403, 0} and set(other) <= {200, 0}, (blocked, other)


def test_an_envoy_that_starts_on_the_other_host_has_every_block(user):
    """A restart moves as well: the daemon knows what Envoy forgets."""
    with running(plugin.standard()) as stack:
        stack.daemon.block(user)
        for host in (hosts.NATIVE, hosts.WASM):
            stack.edge.close()
            stack.edge.move(host)
            stack.edge.start()
            stack.wait_synced()
            assert stack.edge.get("/", user).status == 403
            assert stack.edge.get("/", new_user()).status == 200


@there_and_back
def test_two_hosts_in_one_chain_decide_each_for_itself(user, first, second):
    limit = {**plugin.PER_USER, "max_tokens": 3, "tokens_per_fill": 3, "fill_interval": "3600s"}
    gate = plugin.standard(limits=[limit])
    before = [first.http_filter(hosts.Gate(gate), "before")]
    with running(gate, filters_before=before, host=second, singleton=False, wait=False) as stack:
        wait_until(lambda: len(stack.daemon.status()["nodes"]) == 2, "both to poll")
        wait_until(lambda: stack.edge.get("/", new_user()).status == 200, "both to know everything")
        assert [stack.edge.get("/", user).status for _ in range(4)] == [200] * 3 + [429]
        blocked = new_user()
        stack.daemon.block(blocked)
        assert stack.edge.get("/", blocked).status == 403


@pytest.mark.parametrize("requests", [1, 5])
def test_a_panic_of_the_native_host_is_that_requests_alone(user, requests):
    with running(plugin.standard(limits=[ROOMY]), host=hosts.NATIVE, module=hosts.NATIVE.trap()) as stack:
        edge = stack.edge
        stack.daemon.block(user)
        with edge.connect() as connection:
            for _ in range(requests):
                before = stack.upstream.total()
                assert connection.get("/", new_user(), x_test_panic="1").status == 503
                assert stack.upstream.total() == before, "it must not pass"
                assert connection.get("/", new_user()).status == 200
                assert connection.get("/", user).status == 403
        edge.wait_metric("portcullis_panics", requests)


def test_a_panic_of_the_native_host_while_it_polls_delays_and_loses_nothing(user, summary):
    with running(plugin.standard(limits=[ROOMY]), host=hosts.NATIVE, module=hosts.NATIVE.trap()) as stack:
        stack.daemon.block(user)
        bystander, trapping = new_user(), new_user()
        port = stack.edge.port
        with asking(port, user) as blocked, asking(port, bystander) as other:
            receipt = stack.daemon.block(trapping, reason="test-trap")
            summary(f"panic in a native poll -> enforced: {receipt['elapsed_ms']:.0f} ms")
            assert receipt["elapsed_ms"] <= 1000
            assert stack.edge.get("/", trapping).status == 403
            later = new_user()
            stack.daemon.block(later)
            assert stack.edge.get("/", later).status == 403
        assert set(blocked) == {403} and set(other) == {200}, (blocked, other)
        stack.edge.wait_metric("portcullis_panics", 1)


def test_the_command_line_may_name_a_native_node(user):
    """It is all that the module can see of Envoy's own name."""
    nameless = {**plugin.standard(), "node": None}
    with running(nameless, host=hosts.NATIVE, arguments=["--service-node", "edge-7"]) as stack:
        receipt = stack.daemon.block(user)
        assert [node["node"] for node in receipt["nodes"]] == ["edge-7"]
        assert stack.edge.get("/", user).status == 403


def test_buckets_stay_behind(tmp_path, user):
    """Each host has a memory of its own."""
    limit = {**plugin.PER_USER, "max_tokens": 3, "tokens_per_fill": 3, "fill_interval": "3600s"}
    options = {"daemon": False, "lds": tmp_path / "listeners.json"}
    with running(limits_only(limit), host=hosts.WASM, **options) as stack:
        for host in (None, hosts.NATIVE):
            if host:
                stack.edge.change(host=host)
            assert [stack.edge.get("/", user).status for _ in range(4)] == [200] * 3 + [429]
        # And what was used is still known to the one before.
        stack.edge.change(host=hosts.WASM)
        assert stack.edge.get("/", user).status == 429
