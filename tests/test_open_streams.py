"""What a blocked user has open ends: real clients over HTTP/1.1 and HTTP/2, WebSockets, server-sent events and gRPC."""

import json
import socket
import statistics
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import h2.config
import h2.connection
import h2.events
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from harness import events, plugin
from harness.envoy import Envoy, Options
from harness.events import new_user
from harness.live import Live
from harness.proc import wait_until
from harness.stack import running

TIMEOUT_S = 5
# Envoy closes a connection whose stream it has broken off this long after it has said so.
CLOSES_AFTER_S = 1


class Edge:
    """An Envoy before a service whose responses do not end."""

    def __init__(self, stack, live: Live, envoy: Envoy, cleanup: ExitStack):
        self.daemon, self.live, self.envoy, self._cleanup = stack.daemon, live, envoy, cleanup

    def opened(self, user: str, path: str = "/") -> socket.socket:
        """A stream over HTTP/1.1 on a connection of its own, which has begun."""
        raw = self.sent(user, path)
        assert raw.recv(4096).startswith(b"HTTP/1.1 200"), user
        return raw

    def sent(self, user: str, path: str = "/") -> socket.socket:
        """The same, without an answer yet."""
        before = self.live.open[user]
        raw = socket.create_connection(("127.0.0.1", self.envoy.port), TIMEOUT_S)
        self._cleanup.callback(raw.close)
        raw.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nx-user-id: {user}\r\n\r\n".encode())
        wait_until(lambda: self.live.open[user] > before, f"a stream of {user} to be open")
        return raw

    def goes_on(self, raw: socket.socket) -> bool:
        """Whether there is more than what had come by now."""
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            if not raw.recv(65536):
                return False
        return True

    def publish(self, action: str, user: str | None = None, **options) -> None:
        """Until this Envoy has it, whatever others of the daemon have, which may be gone by now."""
        answer = self.daemon.post(events.event(action, user, **options)).json()
        assert self.envoy.options.plugin["node"] in {one["node"] for one in answer["nodes"]}, answer

    def block(self, user: str, **options) -> None:
        self.publish("block", user, **options)

    def counted(self, name: str) -> float:
        return self.envoy.settled_metric(f"portcullis_streams_{name}")


@contextmanager
def before(stack, live: Live, **options):
    with ExitStack() as cleanup:
        directory = stack.edge.config.parent / f"e{time.monotonic_ns()}"
        directory.mkdir()
        config = options.pop("plugin", None) or plugin.standard()
        config = {**config, "node": directory.name}
        port = options.pop("port_of", live.port)
        envoy = Envoy(
            directory,
            Options(plugin=config, upstream_port=port, poll_address=stack.daemon.poll_address, **options),
        )
        cleanup.callback(envoy.close)
        wait_until(lambda: _knows(stack, directory.name), "the node to be in step", 15)
        yield Edge(stack, live, envoy, cleanup)


def _knows(stack, node: str) -> bool:
    return any(one["node"] == node and one["synced"] for one in stack.daemon.status()["nodes"])


@pytest.fixture(scope="module")
def live():
    service = Live()
    yield service
    service.close()


@pytest.fixture(scope="module")
def stack(host):
    with running() as started:
        yield started


@pytest.fixture(scope="module")
def edge(stack, live):
    with before(stack, live) as started:
        yield started


def closed(raw: socket.socket) -> None:
    """Until the client is told that its response does not go on."""
    raw.settimeout(TIMEOUT_S)
    while raw.recv(65536):
        pass


def test_a_response_that_goes_on_ends_and_others_do_not(edge):
    user, other = new_user(), new_user()
    mine, others = edge.opened(user), edge.opened(other)
    before = edge.counted("broken_off")
    edge.block(user, reason="fraud", event_id=f"evt-{user}")
    wait_until(lambda: edge.live.open[user] == 0, "the upstream's connection to end", 1)
    closed(mine)
    assert edge.goes_on(others) and edge.live.open[other] == 1
    assert edge.counted("broken_off") == before + 1
    line = edge.envoy.access_log_of(user)[0]
    assert line["details"] == f"portcullis:ended;rule=block:fraud;event=evt-{user}", line
    assert edge.envoy.get("/", user).status == 403


def test_a_request_without_a_response_yet_gets_the_answer_of_a_block(edge):
    user = new_user()
    raw = edge.sent(user, "/slow")
    before = edge.counted("answered")
    edge.block(user, reason="fraud", disclose=True)
    answer = raw.recv(65536)
    assert answer.startswith(b"HTTP/1.1 403") and b"fraud" in answer
    wait_until(lambda: edge.live.open[user] == 0, "the upstream's connection to end", 1)
    assert edge.counted("answered") == before + 1


def test_curl_listens_to_events(edge):
    user = new_user()
    argv = ["curl", "-sN", "-H", f"x-user-id: {user}", f"http://127.0.0.1:{edge.envoy.port}/odds"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as curl:
        try:
            assert curl.stdout.readline() == b"data: x\n"
            edge.block(user)
            curl.stdout.read()
            assert curl.wait(TIMEOUT_S) == 18, "curl says that a part of the response is missing"
        finally:
            curl.kill()


def test_a_websocket_is_closed(stack, live, edge):
    with before(stack, live, port_of=live.sockets, upgrades=["websocket"]) as sockets:
        user, other = new_user(), new_user()
        url = f"ws://127.0.0.1:{sockets.envoy.port}/live"
        with (
            connect(url, additional_headers={"x-user-id": user}) as mine,
            connect(url, additional_headers={"x-user-id": other}) as others,
        ):
            mine.send("1")
            assert mine.recv(TIMEOUT_S) == "1"
            sockets.block(user)
            with pytest.raises(ConnectionClosed):
                mine.recv(TIMEOUT_S)
            others.send("2")
            assert others.recv(TIMEOUT_S) == "2"
        wait_until(lambda: live.open[user] == 0, "the upstream's connection to end", 1)


class _H2:
    """One connection with several streams."""

    def __init__(self, port: int):
        self.raw = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self.http2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.http2.initiate_connection()
        self.seen: dict[int, list] = {}
        self.flush()

    def flush(self) -> None:
        self.raw.sendall(self.http2.data_to_send())

    def get(self, user: str, path: str) -> int:
        stream = self.http2.get_next_available_stream_id()
        pseudo = [(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", path)]
        self.http2.send_headers(stream, [*pseudo, ("x-user-id", user)], end_stream=True)
        self.seen[stream] = []
        self.flush()
        return stream

    def read(self) -> None:
        for event in self.http2.receive_data(self.raw.recv(65536)):
            if stream := getattr(event, "stream_id", None):
                self.seen.setdefault(stream, []).append(event)
            if isinstance(event, h2.events.DataReceived):
                self.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        self.flush()

    def read_until(self, stream: int, kind: type) -> None:
        end = time.monotonic() + TIMEOUT_S
        while not any(isinstance(event, kind) for event in self.seen[stream]):
            assert time.monotonic() < end, (stream, kind)
            self.read()

    def count(self, stream: int) -> int:
        return sum(isinstance(event, h2.events.DataReceived) for event in self.seen[stream])


def test_of_a_connection_with_several_streams_one_ends(edge):
    user, other = new_user(), new_user()
    connection = _H2(edge.envoy.port)
    mine, others = connection.get(user, "/"), connection.get(other, "/")
    waits = connection.get(user, "/slow")
    connection.read_until(mine, h2.events.DataReceived)
    connection.read_until(others, h2.events.DataReceived)
    wait_until(lambda: edge.live.open[user] == 2, "both to be open")
    edge.block(user)
    connection.read_until(mine, h2.events.StreamReset)
    connection.read_until(waits, h2.events.ResponseReceived)
    answer = next(one for one in connection.seen[waits] if isinstance(one, h2.events.ResponseReceived))
    assert dict(answer.headers)[":status"] == "403"
    before = connection.count(others)
    while connection.count(others) < before + 5:
        connection.read()
    connection.raw.close()


def test_only_what_is_in_scope_ends(edge):
    user = new_user()
    bet, other = edge.opened(user, "/bet/live"), edge.opened(user, "/news")
    edge.block(user, scope=["bet"])
    wait_until(lambda: edge.live.open[user] == 1, "one to end", 1)
    closed(bet)
    assert edge.goes_on(other)
    edge.publish("unblock", user)
    assert edge.goes_on(edge.opened(user, "/bet/live"))


def test_a_session_is_blocked(edge):
    user, session = new_user(), f"s-{time.monotonic_ns()}"
    raw = socket.create_connection(("127.0.0.1", edge.envoy.port), TIMEOUT_S)
    raw.sendall(f"GET / HTTP/1.1\r\nhost: x\r\nx-user-id: {user}\r\nx-session-id: {session}\r\n\r\n".encode())
    assert raw.recv(4096).startswith(b"HTTP/1.1 200")
    of_user = edge.opened(user)
    edge.publish("block", session=session)
    closed(raw)
    assert edge.goes_on(of_user)


def test_a_zero_that_holds_ends_and_one_without_an_end_does_not(edge):
    user = new_user()
    raw = edge.sent(user, "/slow")
    going = edge.opened(user)
    edge.publish("zero", user)
    assert edge.goes_on(going)
    edge.publish("zero", user, duration="60s")
    answer = raw.recv(65536)
    assert answer.startswith(b"HTTP/1.1 429") and b"retry-after" in answer.lower()
    closed(going)


@pytest.mark.parametrize(
    "blocks, ends",
    [
        ({"open_streams": "keep"}, False),
        ({"open_streams_shadow": True}, False),
        ({"open_streams": {"default": "keep", "route_groups": {"bet": "end"}}}, True),
        ({"open_streams": {"default": "end", "route_groups": {"bet": "keep"}}}, False),
    ],
    ids=json.dumps,
)
def test_as_it_is_configured(stack, live, blocks, ends):
    with before(stack, live, plugin=plugin.standard(blocks=blocks)) as edge:
        user = new_user()
        raw = edge.opened(user, "/bet")
        edge.block(user)
        assert edge.goes_on(raw) is not ends
        if "open_streams_shadow" in blocks:
            assert edge.counted("would_end") == 1
        assert edge.envoy.get("/slow", user).status == 403, "new requests are rejected all the same"


def test_streams_of_a_listener_that_has_changed_end_as_well(stack, live, tmp_path):
    with before(stack, live, lds=tmp_path / "lds.json", drain_s=30) as edge:
        user = new_user()
        raw = edge.opened(user)
        config = {**edge.envoy.options.plugin, "limits": [{**plugin.PER_USER, "max_tokens": 50}]}
        edge.envoy.change(plugin=config)
        assert edge.goes_on(raw)
        edge.block(user)
        closed(raw)


def test_between_decided_and_known_as_open_nothing_is_missed(edge):
    """Streams are opened without a pause while their user is blocked: none stays open."""
    for _ in range(15):
        user, stop = new_user(), threading.Event()

        def opens(user=user, stop=stop):
            while not stop.is_set():
                raw = socket.create_connection(("127.0.0.1", edge.envoy.port), TIMEOUT_S)
                raw.sendall(f"GET / HTTP/1.1\r\nhost: x\r\nx-user-id: {user}\r\n\r\n".encode())
                if not raw.recv(4096).startswith(b"HTTP/1.1 200"):
                    return

        with ThreadPoolExecutor(4) as pool:
            done = [pool.submit(opens) for _ in range(4)]
            wait_until(lambda user=user: edge.live.open[user] > 4, "some to be open", every_s=0.001)
            edge.block(user)
            stop.set()
            [one.result() for one in done]
        wait_until(lambda user=user: edge.live.open[user] == 0, "all of them to end", 2)


def test_how_long_it_takes(edge, summary, host):
    """From the publisher's call until the client has the answer of a block, on a request that was open."""
    times = []
    for _ in range(40):
        user = new_user()
        raw = edge.sent(user, "/slow")
        # What has just begun has time to be over by itself.
        opened = time.monotonic()
        wait_until(lambda opened=opened: time.monotonic() - opened > 0.11, "it to be older than two ticks")
        begun = time.perf_counter()
        edge.block(user)
        assert raw.recv(4096).startswith(b"HTTP/1.1 403")
        times.append((time.perf_counter() - begun) * 1000)
    times.sort()
    summary(
        f"{host.name}: a block ends an open request after {statistics.median(times):.1f} ms (median), "
        f"{times[-1]:.1f} ms at most, of {len(times)}"
    )
    assert times[-1] < 1000
