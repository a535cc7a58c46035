"""gRPC through the gate, with the real grpcio at both ends: what a client sees, and what becomes of streams."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import plugin, ports
from harness.envoy import Envoy, Options
from harness.events import new_user
from harness.proc import wait_until
from harness.stack import running

# Its threads must not have a say in the processes that the harness starts: now and then they abort them.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
import grpc

UNARY, STREAM = "/bets.Bets/Place", "/bets.Bets/Watch"
TIMEOUT_S = 10
PATH_GROUPS = [{"name": "bet", "match": [{"path": {"prefix": "/bets.Bets"}}]}]


class _Bets(grpc.GenericRpcHandler):
    """Echoes: one message, or each of a stream."""

    def service(self, call):
        if call.method == UNARY:
            return grpc.unary_unary_rpc_method_handler(lambda request, _: b"placed " + request)
        return grpc.stream_stream_rpc_method_handler(self._watch)

    def _watch(self, requests, _):
        for request in requests:
            yield b"seen " + request


@pytest.fixture(scope="module")
def bets():
    port = ports.free()
    server = grpc.server(ThreadPoolExecutor(8), handlers=[_Bets()])
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    yield port
    server.stop(None)


def gate(stack, port: int, config: dict, poll_address: str | None) -> Envoy:
    """Another Envoy, in front of the gRPC server."""
    directory = stack.edge.config.parent / config["node"]
    directory.mkdir()
    options = Options(plugin=config, upstream_port=port, poll_address=poll_address, upstream_http2=True)
    return Envoy(directory, options)


@pytest.fixture(scope="module")
def stack(bets):
    with running() as started:
        config = plugin.standard(
            node="grpc", route_groups=PATH_GROUPS, limits=[{**plugin.PER_USER, "max_tokens": 5}]
        )
        started.grpc = gate(started, bets, config, started.daemon.poll_address)
        try:
            with grpc.insecure_channel(f"127.0.0.1:{started.grpc.port}") as channel:
                started.channel = channel
                wait_until(lambda: place(channel, new_user())[0] is grpc.StatusCode.OK, "the gate")
                yield started
        finally:
            started.grpc.close()


def place(channel, user: str, method: str = UNARY) -> tuple[grpc.StatusCode, str, dict[str, str]]:
    """Status, details and initial and trailing metadata of one call."""
    call = channel.unary_unary(method)
    try:
        answer, _ = call.with_call(b"1", metadata=[("x-user-id", user)], timeout=TIMEOUT_S)
        return grpc.StatusCode.OK, answer.decode(), {}
    except grpc.RpcError as error:
        metadata = [*(error.initial_metadata() or ()), *(error.trailing_metadata() or ())]
        return error.code(), error.details(), dict(metadata)


def test_a_blocked_users_call_is_denied(stack, summary):
    user = new_user()
    assert place(stack.channel, user)[:2] == (grpc.StatusCode.OK, "placed 1")
    stack.daemon.block(user, scope=["bet"])
    code, details, metadata = place(stack.channel, user)
    summary(f"gRPC, blocked: {code.name}, {details!r}, {sorted(metadata)}")
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert "reason" not in details, "without `disclose` nothing hints at why"
    stack.daemon.unblock(user)
    assert place(stack.channel, user)[0] is grpc.StatusCode.OK


def test_what_is_disclosed_is_in_the_message(stack):
    user = new_user()
    stack.daemon.block(user, reason="cooling_off", disclose=True)
    code, details, _ = place(stack.channel, user)
    assert code is grpc.StatusCode.PERMISSION_DENIED and "cooling_off" in details


def test_over_the_limit(stack, summary):
    user = new_user()
    answers = [place(stack.channel, user) for _ in range(6)]
    assert [code for code, _, _ in answers[:5]] == [grpc.StatusCode.OK] * 5
    code, details, metadata = answers[5]
    summary(f"gRPC, over a limit: {code.name}, {details!r}, {sorted(metadata)}")
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "retry-after" in metadata


def test_a_user_who_can_be_read_in_two_ways(stack):
    assert place(stack.channel, "one,two")[0] is grpc.StatusCode.INTERNAL


def test_nobody(stack, bets):
    nobody = {**plugin.USER_BY_HEADER, "missing_user": "deny"}
    edge = gate(stack, bets, plugin.limits_only(plugin.PER_USER, node="strict", identity=nobody), None)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{edge.port}") as channel:
            assert place(channel, "")[0] is grpc.StatusCode.UNAUTHENTICATED
    finally:
        edge.close()


def test_a_node_that_does_not_know_enough(stack, bets, summary):
    edge = gate(stack, bets, plugin.standard(node="lonely"), f"127.0.0.1:{ports.free()}")
    try:
        with grpc.insecure_channel(f"127.0.0.1:{edge.port}") as channel:
            code, details, metadata = place(channel, new_user())
    finally:
        edge.close()
    summary(f"gRPC, never synced: {code.name}, {details!r}, {sorted(metadata)}")
    assert code is grpc.StatusCode.UNAVAILABLE


def test_a_stream_that_is_open_ends_and_a_new_one_is_denied(stack, summary):
    user, stop = new_user(), threading.Event()

    def requests():
        yield b"0"
        stop.wait(TIMEOUT_S)

    stream = stack.channel.stream_stream(STREAM)
    call = stream(requests(), metadata=[("x-user-id", user)], timeout=TIMEOUT_S)
    try:
        assert next(call) == b"seen 0"
        stack.daemon.block(user)
        with pytest.raises(grpc.RpcError) as ended:
            next(call)
    finally:
        stop.set()
    summary(f"gRPC, a stream of a user who is blocked: {ended.value.code().name}, {ended.value.details()!r}")
    assert ended.value.code() is not grpc.StatusCode.DEADLINE_EXCEEDED
    with pytest.raises(grpc.RpcError) as denied:
        list(stream(iter([b"x"]), metadata=[("x-user-id", user)], timeout=TIMEOUT_S))
    assert denied.value.code() is grpc.StatusCode.PERMISSION_DENIED
