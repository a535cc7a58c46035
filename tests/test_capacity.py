"""Whoever takes all there is of something takes it from themselves: an operator's block gets in.

Raw sockets, as somebody sends from who does not keep to what clients do."""

import contextlib
import json
import resource
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from harness import certificates, ports
from harness.client import Connection
from harness.daemon import Daemon, new_token, token_entry
from harness.events import event, new_user
from harness.proc import wait_until
from harness.stack import running

ADDRESS = "127.0.0.1"


def post_head(path: str, authorization: str, length: int) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: {authorization}\r\n"
        f"content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    ).encode()


def get_head(path: str, authorization: str) -> bytes:
    return (f"GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: {authorization}\r\n\r\n").encode()


@contextmanager
def crowd(size: int, act: Callable[[socket.socket], None], address=None) -> Iterator[Counter]:
    """As many clients at a time, each on a connection of its own, again and again. Counts how often
    one began, and how often it was sent away."""
    seen: Counter = Counter()
    ended = threading.Event()

    def client() -> None:
        while not ended.is_set():
            family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
            with socket.socket(family) as one:
                one.settimeout(5)
                try:
                    one.connect(address)
                    seen["begun"] += 1
                    act(one)
                except OSError:
                    seen["sent away"] += 1

    threads = [threading.Thread(target=client, daemon=True) for _ in range(size)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: seen["begun"] >= size, "the crowd")
        yield seen
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def slow_body(authorization: str, path: str = "/v1/invalidations"):
    """All of the headers, and the body a byte at a time."""

    def act(one: socket.socket) -> None:
        one.sendall(post_head(path, authorization, 1_000) + b"{")
        while not one.recv(4096):
            raise ConnectionError

    return act


def silent(one: socket.socket) -> None:
    if not one.recv(1):
        raise ConnectionError


def blocks_of(daemon: Daemon, role: str, count: int) -> tuple[Counter, float]:
    """Statuses of blocks, each on a connection of its own, and how long the slowest took."""
    statuses: Counter = Counter()
    slowest = 0.0
    for _ in range(count):
        begun = time.monotonic()
        try:
            statuses[daemon.post(event("block", new_user()), role=role).status] += 1
        except OSError as error:
            statuses[repr(error)] += 1
        slowest = max(slowest, time.monotonic() - begun)
    return statuses, slowest


@pytest.fixture
def daemon(tmp_path) -> Iterator[Daemon]:
    """Without Envoys, with a second publisher."""
    tokens = {name: new_token() for name in ("operator", "publisher", "auditor", "other")}
    roles = {"other": "publisher"}
    entries = [token_entry(name, roles.get(name, name), tokens[name]) for name in tokens]
    one = Daemon(tmp_path, settings={"api": {"tokens": entries}}, start=False)
    one.tokens = tokens
    one.token_file.write_text(tokens["operator"])
    one.start()
    yield one
    one.close()


# --- requests -----------------------------------------------------------------------------------


def test_slow_bodies_of_one_publisher_hold_up_nobody_else(daemon):
    with crowd(300, slow_body(daemon.bearer("publisher")), (ADDRESS, daemon.port)):
        for role in "operator", "other":
            statuses, slowest = blocks_of(daemon, role, 70)
            # 202: there is no Envoy.
            assert statuses == {202: 70} and slowest < 1, (role, statuses, slowest)
        busy = daemon.metrics()
    assert busy['portcullis_api_busy_total{lane="publishing",bound="caller"}'] > 0
    assert busy['portcullis_api_busy_total{lane="publishing",bound="all"}'] == 0


def test_slow_bodies_of_an_operator_hold_up_no_other_operator(tmp_path):
    tokens = {name: new_token() for name in ("broken", "operator")}
    entries = [token_entry(name, "operator", tokens[name]) for name in tokens]
    one = Daemon(tmp_path, settings={"api": {"tokens": entries}}, start=False)
    one.tokens = tokens
    one.start()
    try:
        with crowd(300, slow_body(one.bearer("broken")), (ADDRESS, one.port)):
            statuses, slowest = blocks_of(one, "operator", 30)
            assert statuses == {202: 30} and slowest < 1, (statuses, slowest)
    finally:
        one.close()


def test_a_caller_has_as_many_requests_under_way_as_the_limit_says(tmp_path):
    limits = {"api_requests_max": 100, "api_requests_per_caller_max": 3}
    one = Daemon(tmp_path, settings={"limits": limits})
    try:
        post = lambda: one.post(event("block", new_user()), role="publisher").status  # noqa: E731
        with crowd(6, slow_body(one.bearer("publisher")), (ADDRESS, one.port)):
            wait_until(lambda: post() == 503, "the limit", every_s=0)
            assert one.post(event("block", new_user())).status == 202, "an operator"
            assert one.get("/v1/status", role="publisher").status == 200, "another lane"
        wait_until(lambda: post() == 202, "the places of who has gone")
    finally:
        one.close()


def test_reads_of_an_auditor_hold_up_no_publisher_and_no_operator(daemon):
    for _ in range(50):
        daemon.post(b"{}")

    def read(one: socket.socket) -> None:
        one.sendall(get_head("/v1/dead-letters?limit=1000", daemon.bearer("auditor")) * 20)
        while one.recv(65536):
            pass

    with crowd(200, read, (ADDRESS, daemon.port)):
        statuses, _ = blocks_of(daemon, "publisher", 20)
        assert statuses == {202: 20}
        for path in "/v1/dead-letters", "/v1/status", f"/v1/users/{new_user()}":
            begun = time.monotonic()
            assert daemon.get(path).status in (200, 404)
            assert time.monotonic() - begun < 2, path


# --- connections --------------------------------------------------------------------------------


@pytest.mark.parametrize("act", [silent, slow_body("Bearer x"), slow_body("Basic x", "/nothing")])
def test_a_crowd_of_strangers_keeps_nobody_out(daemon, act):
    with crowd(800, act, (ADDRESS, daemon.port)):
        for role in "operator", "publisher":
            statuses, slowest = blocks_of(daemon, role, 8)
            assert statuses == {202: 8} and slowest < 1.5, (role, statuses, slowest)
        assert daemon.cli("status").returncode == 0
    ended = daemon.metrics()
    assert ended['portcullis_connections_ended_total{listener="api",of="stranger"}'] > 0
    assert ended['portcullis_connections_ended_total{listener="api",of="known"}'] == 0


def test_connections_that_one_publisher_leaves_open_keep_nobody_out(daemon):
    """Each has sent a request, and stays; an operator's own connection stays open too."""
    with contextlib.ExitStack() as opened, Connection(daemon.port) as ours:
        read = {"authorization": daemon.bearer()}
        assert ours.get("/v1/status", **read).status == 200
        for _ in range(1_500):
            one = opened.enter_context(socket.create_connection((ADDRESS, daemon.port)))
            one.sendall(get_head("/healthz", daemon.bearer("publisher")))
            with contextlib.suppress(ConnectionError):
                one.recv(4096)
        for role in "operator", "other":
            statuses, slowest = blocks_of(daemon, role, 20)
            assert statuses == {202: 20} and slowest < 1, (role, statuses, slowest)
        assert ours.get("/v1/status", **read).status == 200, "it was not ended for others"
    ended = daemon.metrics()
    assert ended['portcullis_connections_ended_total{listener="api",of="known"}'] > 500


def test_strangers_and_a_publisher_together_keep_nobody_out(daemon):
    """The publisher leaves strangers the fewest places that it can."""

    def stay(one: socket.socket) -> None:
        one.sendall(get_head("/v1/status", daemon.bearer("publisher")))
        one.recv(65536)
        # Says nothing more, and stays as long as it may.
        one.settimeout(3)
        silent(one)

    address = (ADDRESS, daemon.port)
    with crowd(600, stay, address), crowd(800, silent, address):
        statuses, slowest = blocks_of(daemon, "operator", 8)
        assert statuses == {202: 8} and slowest < 3, (statuses, slowest)


def test_handshakes_that_are_never_finished_keep_nobody_out(tmp_path):
    certificates.write(tmp_path, ["api.pem"], "api.key")
    (tmp_path / "api.key").chmod(0o600)
    port = ports.free()
    files = {"cert_file": str(tmp_path / "api.pem"), "key_file": str(tmp_path / "api.key")}
    one = Daemon(tmp_path, settings={"api": {"tls": files}}, port=port, start=False)
    one.start(wait=False)
    trust = ssl.create_default_context(cafile=str(tmp_path / "api.pem"))
    trust.check_hostname = False

    def block() -> int:
        body = json.dumps(event("block", new_user())).encode()
        with (
            socket.create_connection((ADDRESS, port), timeout=2) as plain,
            trust.wrap_socket(plain, server_hostname="localhost") as tls,
        ):
            tls.sendall(post_head("/v1/invalidations", one.bearer(), len(body)) + body)
            return int(tls.recv(4096).split()[1])

    try:
        wait_until(lambda: block() == 202, "the daemon to answer")
        hello = bytes.fromhex("1603010200010001fc0303")
        for begins in b"", hello:

            def shake(client: socket.socket, begins=begins) -> None:
                client.sendall(begins)
                silent(client)

            with crowd(800, shake, (ADDRESS, port)):
                assert [block() for _ in range(8)] == [202] * 8
    finally:
        one.close()


def test_who_does_not_read_its_answers_is_sent_away(daemon):
    with socket.create_connection((ADDRESS, daemon.port)) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.settimeout(30)
        ask = get_head("/metrics", daemon.bearer("auditor"))
        # Far more answers than there is room for between us.
        with pytest.raises(ConnectionError):  # noqa: PT012
            while True:
                one.sendall(ask * 100)


def test_a_crowd_at_the_polls_door_keeps_no_envoy_out(user):
    """Whoever may open the socket, as others of Envoy's group."""
    # Ten connections for each node, and some more, are fewer than the crowd's.
    with running(daemon_settings={"limits": {"nodes_max": 64}}) as stack:
        with crowd(800, silent, str(stack.daemon.poll_socket)) as seen:
            for _ in range(20):
                someone = new_user()
                stack.daemon.block(someone)
                assert stack.edge.get("/", someone).status == 403
            # It polls on a connection that it has; a new one gets in as well.
            stack.edge.process.kill()
            stack.edge.start()
            stack.wait_synced()
            stack.daemon.block(user)
            assert stack.edge.get("/", user).status == 403
        assert seen["sent away"] > 0
        ended = stack.daemon.metrics()
        assert ended['portcullis_connections_ended_total{listener="poll",of="stranger"}'] > 0
        assert ended['portcullis_connections_ended_total{listener="poll",of="known"}'] == 0


def test_the_daemon_takes_the_open_files_that_it_needs(tmp_path):
    """The usual limit of 1024 is less than its connections."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < 4_096:
        pytest.skip("the limit of this machine is too low")
    one = Daemon(tmp_path, start=False)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        one.start(wait=False)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    try:
        wait_until(lambda: one.get("/healthz").status == 200, "the daemon to answer")
        soft, _ = resource.prlimit(one.process.pid, resource.RLIMIT_NOFILE)
        assert soft > 1_024
    finally:
        one.close()
