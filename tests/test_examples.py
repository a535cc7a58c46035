"""The example configurations keep what their comments promise.

Each is started as it is, but for places, ports and secrets. Then every method is sent to every path
that there is a rule about, and to its neighbours: spelled as one upstream or another would take for
the same place. Whatever gets a 200 has reached the upstream, since nobody else answers so here.
"""

import base64
import contextlib
import json
import posixpath
import re
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from harness import artifacts, certificates, examples, hosts, ports, raw, signing
from harness.client import Connection
from harness.daemon import SECRET, Daemon
from harness.events import new_user
from harness.proc import Process, wait_until
from harness.upstream import Upstream

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "post", "Post"]
KEY = ec.generate_private_key(ec.SECP256R1())
PARTNER = "spiffe://example.com/partner/"


@dataclass
class Example:
    port: int
    upstream: Upstream
    daemon: Daemon

    def send(self, method: str, path: str, **lines: str | None) -> raw.Answer:
        """Over HTTP/2, where white space and case get through as they are."""
        named = [(name.replace("_", "-"), value) for name, value in lines.items() if value]
        return raw.h2(self.port, path, named, method)


@contextlib.contextmanager
def running_example(name: str, directory: Path, settings: dict | None = None) -> Iterator[Example]:
    port, admin, upstream = ports.free(), ports.free(), Upstream()
    daemon = Daemon(directory, settings=settings)
    host = hosts.chosen()
    text = examples.path(name, host).read_text()
    for place, ours in {
        "/etc/portcullis/tls": directory,
        "/run/portcullis/poll.sock": daemon.poll_socket,
        "change-me-0123456789": SECRET,
        "port_value: 9901": f"port_value: {admin}",
        "port_value: 8080": f"port_value: {upstream.port}",
    }.items():
        assert place in text or "tls" in place, place
        text = text.replace(place, str(ours))
    # Envoy hangs up a second after it has refused what is no HTTP, which is often here.
    prefix = "stat_prefix: edge\n" + 16 * " "
    text = text.replace(prefix, f"{prefix}delayed_close_timeout: 0.01s\n" + 16 * " ")
    text = re.sub(r"address: 0\.0\.0\.0", "address: 127.0.0.1", text)
    text = re.sub(r"port_value: 10\d\d\d", f"port_value: {port}", text)
    for coordinate in "x", "y":
        number = getattr(KEY.public_key().public_numbers(), coordinate).to_bytes(32, "big")
        value = base64.urlsafe_b64encode(number).decode().rstrip("=")
        text = re.sub(f'"{coordinate}": "[^"]+"', f'"{coordinate}": "{value}"', text)
    file = directory / name
    file.write_text(examples.moved(text, host))
    argv = [str(artifacts.envoy()), "-c", str(file), "--concurrency", "1", "-l", "warning"]
    envoy = Process("envoy", [*argv, "--disable-hot-restart"], directory)

    def synced() -> bool:
        envoy.ensure_alive()
        with Connection(admin) as connection:
            ready = connection.get("/ready").status == 200
        return ready and any(node["connected"] for node in daemon.status()["nodes"])

    try:
        wait_until(synced, f"{name} to be synchronized", 30)
        yield Example(port, upstream, daemon)
    finally:
        envoy.stop(timeout_s=3)
        daemon.close()
        upstream.close()


@pytest.fixture(scope="module")
def full(host, tmp_path_factory):
    directory = tmp_path_factory.mktemp("full")
    keys = directory / "keys.toml"
    keys.touch(mode=0o600)
    keys.write_text(
        f'[[keys]]\nid = "k1"\npartner = "acme"\nsecret = "{signing.SECRET}"\n'
        'integrations = ["partner-payments"]\n'
    )
    with running_example("full.yaml", directory, {"keys": {"file": str(keys)}}) as example:

        def has_keys() -> bool:
            return pay(example, "/partners/payments").status == 200

        wait_until(has_keys, "the keys to arrive")
        yield example


@pytest.fixture(scope="module")
def minimal(host, tmp_path_factory):
    with running_example("minimal.yaml", tmp_path_factory.mktemp("minimal")) as example:
        yield example


@pytest.fixture(scope="module")
def mtls(host, tmp_path_factory):
    """With the trusted partners acme, and one whose certificate has two names."""
    directory = tmp_path_factory.mktemp("mtls")
    certificates.write(directory, ["server.crt"], key="server.key")
    partners = {"acme": [PARTNER + "acme"], "both": [PARTNER + "acme", PARTNER + "globex"]}
    partners["stranger"] = ["spiffe://example.com/employee/eve"]
    for name, uris in partners.items():
        certificates.write(directory, [f"{name}.crt"], f"{name}.key", uris)
    trusted = b"".join((directory / f"{name}.crt").read_bytes() for name in partners)
    (directory / "clients-ca.crt").write_bytes(trusted)
    with running_example("mtls.yaml", directory) as example:
        yield example, directory


def neighbours(path: str) -> list[str]:
    """The path, and what somebody takes for it, for a part of it, or for something beside it."""
    first, _, rest = path[1:].partition("/")
    rest = f"/{rest}" if rest else ""
    escaped = f"%{ord(first[0]):02x}{first[1:]}"
    return [
        path, f"{path}/", f"{path}/1", f"{path}/1/2", f"{path}x", f"{path}?a=b", f"{path}?/status",
        f"{path};x", f"{path}/;x", f"/{first};x{rest}", f"/;{path}", f"/;x=y{path}",
        f"/{first}/;{rest}", f"/{first}%3bx{rest}", f"/{escaped}{rest}", f"/{path}", f"//x{path}",
        f"/.{path}", f"/.;{path}", f"/..{path}", f"/..;{path}", f"/x/..{path}", f"/x/..;{path}",
        f"/x/..;a=b{path}", f"/x/%2e%2e{path}", f"/x/%2e%2e;{path}", f"/x/..%2f{path[1:]}",
        f"/x%2f..{path}", f"/status/..;{path}", f"/public/..{path}", f"/public/..;{path}",
        f"/public/%2e%2e;x{path}", f"/public;x/..{path}", f"/public/..%3b{path}",
        f"/public/..%5c{path[1:]}", f"/public/x%2f..%2f..{path}",
        f"/partners/payments/..;/..;{path}", f"/partners/payments;/../..{path}",
        f"{path}/..", f"{path}/..;", f"{path}/../..", f"{path}%00",
        f"{path}%0a", f"{path}%20", f"{path}%2f", f"{path}%2f1", f"{path}%5c1", f"{path}\\1",
        f"\\{path[1:]}", f"{path}.json", path.upper(), path.title(), f"/%c0%ae%c0%ae{path}",
        f"/public/..%252f{path[1:]}", f"http://localhost{path}", f"/public#{path}",
    ]  # fmt: skip


def readings(path: str) -> set[str]:
    """Where upstreams find this: as it is written, without parameters, and decoded at once."""
    path = path.partition("?")[0]
    without = "/".join(segment.partition(";")[0] for segment in path.split("/"))
    found = {path, *(unquote(one) for one in (path, without))}
    decoded = "/".join(segment.partition(";")[0] for segment in unquote(path).split("/"))
    folded = {posixpath.normpath(one.replace("\\", "/")) for one in {*found, without, decoded}}
    return {"/" + one.lstrip("/") for one in {*found, *folded}}


def is_under(path: str, *prefixes: str) -> bool:
    return any(path == prefix or path.startswith(f"{prefix}/") for prefix in prefixes)


def is_public(path: str) -> bool:
    """Whether full.yaml wants no token there, however an upstream reads it."""
    return all(one in {"/status", "/login"} or is_under(one, "/public") for one in readings(path))


def token(**claims) -> str:
    claims = {
        "iss": "https://idp.example.com",
        "aud": "portcullis-example",
        "exp": int(time.time()) + 600,
        **claims,
    }
    return "Bearer " + jwt.encode(claims, KEY, algorithm="ES256", headers={"kid": "example"})


def pay(example: Example, path: str, method: str = "POST", **more) -> raw.Answer:
    signed = {"content-type": "application/json", **signing.portcullis(method, path), **more}
    return raw.h2(example.port, path, list(signed.items()), method)


# --- full.yaml ----------------------------------------------------------------------------------


PLACES = ["/status", "/login", "/public", "/partners", "/partners/payments", "/bet", "/withdraw"]


@pytest.mark.parametrize("path", PLACES)
def test_full_lets_nothing_up_without_token_or_signature_but_what_is_public(full, path):
    before, reached = full.upstream.total(), 0
    for spelled in neighbours(path):
        for method in METHODS:
            named = {"x_user_id": "alice", "x_api_key": "k", "cookie": "session=s"}
            answer = full.send(method, spelled, **named)
            if answer.status != 200:
                continue
            reached += 1
            assert is_public(full.upstream.last_path), (method, spelled, full.upstream.last_path)
    assert full.upstream.total() - before == reached
    assert reached > 0 or path not in PLACES[:3], "what is for everybody is for everybody"


@pytest.mark.parametrize("path", ["/partners", "/partners/payments"])
def test_full_lets_a_token_make_no_partners_payment(full, path):
    bearer = token(sub=new_user())
    for spelled in neighbours(path):
        for method in METHODS:
            answer = full.send(method, spelled, authorization=bearer)
            if answer.status == 429:  # the user's own limit
                bearer = token(sub=new_user())
                answer = full.send(method, spelled, authorization=bearer)
            if answer.status == 200 and method.upper() == "POST":
                got = full.upstream.last_path
                paid = [one for one in readings(got) if is_under(one, "/partners/payments")]
                assert not paid, (method, spelled, got)


def test_full_lets_signed_payments_up(full):
    for path in "/partners/payments", "/partners/payments/1?x=y", "/partners/payments/":
        answer = pay(full, path)
        assert answer.status == 200, path
        seen = json.loads(answer.body)["headers"]
        assert (seen["x-portcullis-partner"], seen["x-portcullis-key-id"]) == ("acme", "k1")


def test_full_lets_a_signature_stand_for_no_token_elsewhere(full):
    for method, path in [
        *((method, "/partners/payments") for method in METHODS if method != "POST"),
        ("POST", "/partners"),
        ("POST", "/partners/paymentsx"),
        ("POST", "/partners/refunds"),
        ("POST", "/partners/payments/../refunds"),
        ("POST", "/partners/payments/..;/refunds"),
        ("POST", "/bet"),
    ]:
        assert pay(full, path, method).status != 200, (method, path)
    assert pay(full, "/partners/payments", **{"x-timestamp": "1"}).status == 401


@pytest.mark.parametrize("scope", [None, ["bet"]])
def test_full_keeps_a_block_however_the_request_is_written(full, scope):
    user = new_user()
    full.daemon.block(user, **({"scope": scope} if scope else {}))
    bearer = token(sub=user)
    for spelled in neighbours("/bet"):
        for method in METHODS:
            answer = full.send(method, spelled, authorization=bearer)
            if answer.status != 200:
                continue
            got = full.upstream.last_path
            in_scope = [one for one in readings(got) if is_under(one, "/bet")]
            is_betting = method.upper() == "POST" and in_scope
            # Who shows no token because none is wanted is nobody.
            assert not is_betting and (scope or is_public(got)), (method, spelled, got)


def test_full_wants_to_know_whose_a_token_is(full):
    for claims in {}, {"sub": ""}, {"sub": " "}, {"sub": "a\nb"}, {"sub": 7}, {"sub": None}:
        assert full.send("GET", "/", authorization=token(**claims)).status == 401, claims
    assert full.send("GET", "/", authorization=token(sub="7")).status == 200


def test_full_passes_on_nothing_that_only_the_gate_says_or_that_changes_the_place(full):
    bearer = token(sub=new_user())
    forged = [
        "x-portcullis-partner",
        "x-portcullis-key-id",
        "x-portcullis-verdict",
        "x-original-url",
        "x-rewrite-url",
    ]
    forged += ["x-http-method", "x-http-method-override", "x-method-override"]
    lines = [("authorization", bearer), *((name, "/bet") for name in forged)]
    answer = raw.h2(full.port, "/", lines)
    assert answer.status == 200
    assert not set(forged) & set(json.loads(answer.body)["headers"])
    for name in forged:
        alias = [("authorization", bearer), (name.replace("-", "_"), "/bet")]
        assert raw.h2(full.port, "/", alias).status in {0, 400}, name


# --- minimal.yaml -------------------------------------------------------------------------------


def test_minimal_lets_nothing_of_a_blocked_user_up(minimal):
    user = new_user()
    for path in "/", "/a/b", "/a;b/c":
        assert minimal.send("GET", path, x_user_id=user).status == 200
    minimal.daemon.block(user)
    for spelled in neighbours("/bet"):
        for method in METHODS:
            assert minimal.send(method, spelled, x_user_id=user).status != 200, (method, spelled)


@pytest.mark.parametrize("method", METHODS)
def test_minimal_knows_a_blocked_user_by_every_spelling(minimal, method):
    user = new_user()
    minimal.daemon.block(user)
    for lines in (
        [("x-user-id", f"{user} ")],
        [("x-user-id", f"\t{user}")],
        [("x-user-id", f"{user},x")],
        [("x-user-id", new_user()), ("x-user-id", user)],
        [("x_user_id", user)],
        [("x-user-id", new_user()), ("x_user_id", user)],
        [("x-user-id", new_user()), ("x-user_id", user)],
    ):
        assert raw.h2(minimal.port, "/", lines, method).status != 200, lines


def test_minimal_has_one_limit_for_each_user(minimal):
    user, other = new_user(), new_user()
    spelled = [user + " " * (n % 9) for n in range(110)]
    statuses = [minimal.send("GET", "/", x_user_id=one).status for one in spelled]
    assert statuses.count(200) in range(100, 103) and set(statuses) == {200, 429}
    assert minimal.send("GET", "/", x_user_id=other).status == 200


# --- mtls.yaml ----------------------------------------------------------------------------------


def ask(mtls, partner: str, *lines: str, method: str = "GET", path: str = "/") -> raw.Answer:
    example, directory = mtls
    context = ssl.create_default_context(cafile=directory / "server.crt")
    context.check_hostname = False
    context.load_cert_chain(directory / f"{partner}.crt", directory / f"{partner}.key")
    head = "\n".join([f"{method} {path} HTTP/1.1", "Host: x", *lines])
    return raw.h1(example.port, head, context)


def test_mtls_lets_nobody_without_a_partners_certificate_in(mtls):
    example, _ = mtls
    before = example.upstream.total()
    assert raw.h2(example.port, "/").status == 0
    with contextlib.suppress(ssl.SSLError):
        assert ask(mtls, "stranger").status == 0
    assert example.upstream.total() == before


@pytest.mark.parametrize("method", METHODS)
def test_mtls_knows_the_partner_by_the_certificate_alone(mtls, method):
    forged = f"{PARTNER}globex"
    for lines in (
        [],
        [f"X-Partner-Id: {forged}"],
        [f"X-Partner-Id: {forged}", f"x-partner-id: {forged}"],
        [f"X-Partner-Id: {forged} ", "X-Partner-Id:"],
    ):
        answer = ask(mtls, "acme", *lines, method=method)
        if not method.isupper():  # not over HTTP/1.1
            assert answer.status == 400
            continue
        assert answer.status == 200, lines
        if method != "HEAD":
            seen = json.loads(answer.body)["headers"]
            named = [value for name, value in seen.items() if "partner" in name]
            assert named == [f"{PARTNER}acme"]
    for alias in "x_partner_id", "x-partner_id", "X_USER_ID":
        assert ask(mtls, "acme", f"{alias}: {forged}", method=method).status in {0, 400}, alias


def test_mtls_refuses_a_certificate_of_two_partners(mtls):
    assert ask(mtls, "both").status == 400


def test_mtls_lets_nothing_of_a_blocked_user_up(mtls):
    user, (example, _) = new_user(), mtls
    assert ask(mtls, "acme", f"X-User-Id: {user}").status == 200
    example.daemon.block(user)
    for method in METHODS:
        for path in "/", "/bet", "/bet;x", "/a/../b":
            answer = ask(mtls, "acme", f"X-User-Id: {user}", method=method, path=path)
            assert answer.status != 200, (method, path)
