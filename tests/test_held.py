"""Requests that are held for their bodies: nothing that became true meanwhile is missed."""

import json
import socket
import subprocess
import time
from contextlib import contextmanager

import pytest

from harness import plugin, signing
from harness.events import new_user
from harness.proc import wait_until
from harness.stack import running
from selection import BODIES_KEPT_BACK

BODY = b'{"amount": 100}'
# Longer than it takes to notice that bodies are not handed over.
SLOW_S = 4.0

ORDERS = {
    "name": "orders",
    "match": [{"path": {"prefix": "/orders"}}],
    "signature": {"profile": "portcullis"},
}
# Without an announced length they are held, and counted.
UPLOADS = {"name": "uploads", "match": [{"path": {"prefix": "/uploads"}}], "body_bytes_max": 1000}
KEYS = [{"id": "k1", "partner": "acme", "secret": signing.SECRET}]
COMPLAINT = "allow_on_headers_stop_iteration"


def config(**changes) -> dict:
    return plugin.standard(integrations=[ORDERS, UPLOADS], keys=KEYS, **changes)


@pytest.fixture(scope="module")
def stack():
    with running(config()) as started:
        yield started


class Held:
    """A request whose headers are sent, and whose body is not."""

    def __init__(self, edge, path: str, user: str, **headers: str):
        signed = signing.portcullis("POST", path, BODY) if path.startswith("/orders") else {}
        framing = {"content-length": str(len(BODY))} if signed else {"transfer-encoding": "chunked"}
        self._chunked = not signed
        lines = {"host": "edge", "x-user-id": user, **signed, **framing, **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._socket = socket.create_connection(("127.0.0.1", edge.port), timeout=15)
        self._socket.sendall(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode())

    def send(self, part: bytes) -> None:
        self._socket.sendall(b"%x\r\n%s\r\n" % (len(part), part) if self._chunked else part)

    def send_raw(self, framed: bytes) -> None:
        self._socket.sendall(framed)

    def finish(self, rest: bytes = BODY) -> int:
        """Sends the rest of the body. Returns the status."""
        self.send(rest)
        if self._chunked:
            self._socket.sendall(b"0\r\n\r\n")
        return self.status()

    def status(self) -> int:
        with self._socket:
            return int(self._socket.recv(4000).split(b" ", 2)[1])

    def close(self) -> None:
        self._socket.close()


def wait_held(edge, count: int = 1) -> None:
    """Until Envoy has taken in so many requests that are not answered yet."""
    name = "/stats?filter=^http.edge.downstream_rq_active$"
    wait_until(lambda: int(edge.admin(name).body.split()[-1]) >= count, "the headers to be taken in")


def test_a_body_that_begins_late_is_waited_for():
    """The first of its worker, so nothing is known yet of whether bodies are handed over."""
    with running(config(), concurrency=1) as stack:
        begun = time.monotonic()
        held = Held(stack.edge, "/orders", new_user())
        wait_held(stack.edge)
        # The time itself is what this is about: no answer before the body.
        time.sleep(SLOW_S)
        assert held.finish() == 200
        assert time.monotonic() - begun >= SLOW_S
        assert COMPLAINT not in stack.edge.process.log.read_text()


def test_a_body_that_stops_halfway_is_waited_for():
    with running(config(), concurrency=1) as stack:
        held = Held(stack.edge, "/orders", new_user())
        held.send(BODY[:3])
        wait_held(stack.edge)
        time.sleep(SLOW_S)
        assert held.finish(BODY[3:]) == 200
        assert COMPLAINT not in stack.edge.process.log.read_text()


@BODIES_KEPT_BACK
def test_bodies_that_are_not_handed_over_are_noticed():
    with running(config(), concurrency=1, body_callbacks=False) as stack:
        before = stack.upstream.total()
        waiting = Held(stack.edge, "/orders", new_user())
        sent = Held(stack.edge, "/orders", new_user())
        assert sent.finish() == 503
        assert COMPLAINT in stack.edge.process.log.read_text()
        # Also if it comes only now.
        assert waiting.finish() == 503
        assert stack.upstream.total() == before


@pytest.mark.parametrize("path", ["/orders", "/uploads"])
@pytest.mark.parametrize("begun", [b"", BODY[:4]], ids=["headers", "half a body"])
def test_a_block_that_comes_meanwhile_holds(stack, path, begun):
    users = [new_user() for _ in range(10)]
    before = stack.upstream.total()
    held = [Held(stack.edge, path, user) for user in users]
    wait_held(stack.edge, len(held))
    for request in held:
        if begun:
            request.send(begun)
    for user in users[1:]:
        stack.daemon.block(user, reason="fraud")
    rest = BODY[len(begun) :]
    assert [request.finish(rest) for request in held] == [200] + [403] * 9
    assert stack.upstream.total() == before + 1
    (line,) = stack.edge.access_log_of(users[1])
    assert line["details"].startswith("portcullis:rule=block:fraud;event=")


class Curl:
    """The same over HTTP/2: the body is what is written to curl."""

    def __init__(self, edge, path: str, user: str):
        signed = signing.portcullis("POST", path, BODY) if path.startswith("/orders") else {}
        argv = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "15"]
        argv += ["--http2-prior-knowledge", "-X", "POST", "-T", "-", "-H", "expect:"]
        for name, value in {"x-user-id": user, **signed}.items():
            argv += ["-H", f"{name}: {value}"]
        argv.append(f"http://127.0.0.1:{edge.port}{path}")
        self._curl = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def send(self, part: bytes) -> None:
        self._curl.stdin.write(part)
        self._curl.stdin.flush()

    def finish(self, rest: bytes = BODY) -> int:
        shown, _ = self._curl.communicate(rest)
        return int(shown)


@pytest.mark.parametrize("path", ["/orders", "/uploads"])
def test_a_block_that_comes_meanwhile_holds_over_http_2(stack, path):
    users = [new_user() for _ in range(4)]
    before = stack.upstream.total()
    held = [Curl(stack.edge, path, user) for user in users]
    wait_held(stack.edge, len(held))
    held[3].send(BODY[:5])
    for user in users[1:]:
        stack.daemon.block(user, reason="fraud")
    assert [one.finish() for one in held[:3]] == [200, 403, 403]
    assert held[3].finish(BODY[5:]) == 403
    assert stack.upstream.total() == before + 1


def test_a_request_that_is_sent_twice_while_it_is_held_is_used_once(stack):
    signed = signing.portcullis("POST", "/orders", BODY)
    held = [Held(stack.edge, "/orders", new_user(), **signed) for _ in range(8)]
    wait_held(stack.edge, len(held))
    assert sorted(one.finish() for one in held) == [200] + [409] * 7


def test_trailers_end_a_body_that_was_held(stack):
    for blocked, status in [(False, 200), (True, 403)]:
        user = new_user()
        chunked = {"transfer-encoding": "chunked", "trailer": "x-trailer"}
        held = Held(stack.edge, "/uploads", user, **chunked)
        wait_held(stack.edge)
        if blocked:
            stack.daemon.block(user, reason="fraud")
        held.send(BODY)
        held.send_raw(b"0\r\nx-trailer: 1\r\n\r\n")
        assert held.status() == status


def test_a_block_of_the_session_and_a_zero_hold_too(stack):
    session, zeroed, lifted = new_user("session"), new_user(), new_user()
    of_session = Held(stack.edge, "/orders", new_user(), **{"x-session-id": session})
    of_zeroed = Held(stack.edge, "/orders", zeroed)
    of_lifted = Held(stack.edge, "/orders", lifted)
    wait_held(stack.edge, 3)
    stack.daemon.block(session=session, reason="stolen")
    stack.daemon.zero(zeroed, duration="60s")
    stack.daemon.block(lifted, reason="mistake")
    stack.daemon.unblock(lifted, reason="mistake")
    assert of_session.finish() == 403
    assert of_zeroed.finish() == 429
    assert of_lifted.finish() == 200


def test_a_request_that_is_refused_late_is_not_used_up(stack):
    """It may be sent again once the block is lifted."""
    user = new_user()
    signed = signing.portcullis("POST", "/orders", BODY)
    held = Held(stack.edge, "/orders", user, **signed)
    wait_held(stack.edge)
    stack.daemon.block(user, reason="fraud")
    assert held.finish() == 403
    stack.daemon.unblock(user, reason="fraud")
    named = {name.replace("-", "_"): value for name, value in signed.items()}
    again = stack.edge.request("POST", "/orders", BODY, x_user_id=user, **named)
    assert again.status == 200


def test_a_node_that_has_become_stale_meanwhile_lets_nothing_go_on():
    stale = {**plugin.INVALIDATOR, "stale_after": "3s"}
    with running(config(invalidator=stale)) as stack:
        held = Held(stack.edge, "/orders", new_user())
        wait_held(stack.edge)
        stack.daemon.process.pause()
        wait_until(lambda: stack.edge.get("/", new_user()).status == 503, "the node to be stale")
        assert held.finish() == 503
        stack.daemon.process.resume()


def test_a_request_that_is_given_up_by_its_client_leaves_nothing_behind(stack):
    before = stack.upstream.total()
    for _ in range(20):
        held = Held(stack.edge, "/orders", new_user())
        held.send(BODY[:4])
        held.close()
    assert Held(stack.edge, "/orders", new_user()).finish() == 200
    assert stack.upstream.total() == before + 1


@contextmanager
def with_keys_file(file, **options):
    settings = {"keys": {"file": str(file)}}
    with running(plugin.standard(integrations=[ORDERS]), daemon_settings=settings, **options) as s:
        yield s


def test_a_key_that_is_taken_away_meanwhile_no_longer_signs(tmp_path):
    file = tmp_path / "keys.toml"

    def write(id: str) -> None:
        new = file.with_suffix(".tmp")
        new.touch(mode=0o600)
        new.write_text(f"[[keys]]\nid = {json.dumps(id)}\npartner = 'acme'\nsecret = '{signing.SECRET}'\n")
        new.rename(file)

    def status(id: str) -> int:
        signed = signing.portcullis("POST", "/orders", BODY, key_id=id)
        named = {name.replace("-", "_"): value for name, value in signed.items()}
        return stack.edge.request("POST", "/orders", BODY, **named).status

    write("k1")
    with with_keys_file(file) as stack:
        wait_until(lambda: status("k1") == 200, "the first key")
        held = Held(stack.edge, "/orders", new_user())
        wait_held(stack.edge)
        write("k2")
        wait_until(lambda: status("k2") == 200, "the second key")
        assert held.finish() == 401


def test_a_change_of_the_configuration_meanwhile_changes_nothing(tmp_path):
    lds = tmp_path / "listeners.json"
    with running(config(), lds=lds, drain_s=600) as stack:
        user, blocked = new_user(), new_user()
        held, late = Held(stack.edge, "/orders", user), Held(stack.edge, "/orders", blocked)
        wait_held(stack.edge, 2)
        stack.edge.change(plugin=plugin.standard(integrations=[UPLOADS], keys=[]))
        stack.daemon.block(blocked, reason="fraud")
        assert late.finish() == 403
        assert held.finish() == 200
