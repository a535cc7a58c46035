"""Signed requests: what real signers send passes, what anybody changes does not."""

import base64
import hashlib
import json
import random
import socket
import subprocess
import threading
import uuid
from collections import Counter
from datetime import UTC, datetime

import pytest
import standardwebhooks
import stripe
import svix.webhooks

from harness import artifacts, envoy, plugin, signing
from harness.proc import wait_until
from harness.stack import running
from selection import BODIES_KEPT_BACK

BODY = b'{"amount": 100, "currency": "EUR"}'
PROFILES = ["portcullis", "body", "standard-webhooks", "stripe", "github"]


def integration(profile: str, **changes) -> dict:
    return {
        "name": profile,
        "match": [{"path": {"prefix": f"/{profile}"}}],
        "signature": {"profile": profile},
        **changes,
    }


def key(id: str = "k1", **changes) -> dict:
    """Of the profile `portcullis`, unless something else is said."""
    profile = {} if "integrations" in changes else {"profile": "portcullis"}
    return {"id": id, "partner": "acme", "secret": signing.SECRET, **profile, **changes}


def config(**changes) -> dict:
    integrations = [
        *(integration(profile) for profile in PROFILES),
        integration("portcullis", name="small", body_bytes_max=1000)
        | {"match": [{"path": {"prefix": "/small"}}]},
        {
            "name": "pinned",
            "match": [{"path": {"prefix": "/pinned"}}],
            "content_types": ["application/json"],
            "allow_ips": ["127.0.0.0/16"],
        },
        integration("portcullis", name="shadow", shadow=True) | {"match": [{"path": {"prefix": "/shadow"}}]},
    ]
    keys = [
        key(),
        *(
            key(f"{profile}-1", profile=profile, secret=signing.SECRETS[profile])
            for profile in ["body", "stripe", "github"]
        ),
        key("hooks", secret=signing.WEBHOOK_SECRET, profile="standard-webhooks"),
        key("old", not_after="2020-01-01T00:00:00Z"),
        key("elsewhere", integrations=["stripe"], secret="the-secret-of-another-place"),
    ]
    return plugin.limits_only(integrations=integrations, keys=keys, **changes)


@pytest.fixture(scope="module")
def stack():
    with running(config(), daemon=False) as started:
        yield started


@pytest.fixture(scope="module")
def edge(stack):
    return stack.edge


def send(edge, method: str, path: str, body: bytes | None, headers: dict, **more):
    named = {name.replace("-", "_"): value for name, value in {**headers, **more}.items()}
    return edge.request(method, path, body, **named)


def sign(profile: str, path: str, body: bytes = BODY, **options) -> dict[str, str]:
    if profile == "portcullis":
        return signing.portcullis("POST", path, body, **options)
    if profile == "body":
        return signing.body_only(body, **{"key_id": "body-1", **options})
    signer = {
        "stripe": signing.stripe,
        "github": signing.github,
        "standard-webhooks": signing.standard_webhooks,
    }[profile]
    return signer(body, **options)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_signed_request_reaches_the_upstream_whole(edge, profile):
    body = f"{uuid.uuid4()}".encode() * 1000
    path = f"/{profile}/orders?a=1&b=%20"
    answer = send(edge, "POST", path, body, sign(profile, path, body))
    assert answer.status == 200, answer.body
    echo = answer.json()
    assert echo["body"] == body.decode()
    assert echo["headers"]["x-portcullis-partner"] == "acme"
    ids = {"portcullis": "k1", "standard-webhooks": "hooks"}
    assert echo["headers"]["x-portcullis-key-id"] == ids.get(profile, f"{profile}-1")


@pytest.mark.parametrize("profile", PROFILES)
def test_every_refusal_looks_the_same_and_nothing_reaches_the_upstream(stack, profile):
    path = f"/{profile}/orders"
    good = sign(profile, path)
    before = stack.upstream.total()
    answers = [
        send(stack.edge, "POST", path, BODY, {}),
        send(stack.edge, "POST", path, BODY + b" ", good),
        send(stack.edge, "POST", path, None, good),
        send(stack.edge, "POST", path, BODY, dict.fromkeys(good, "x")),
    ]
    if profile != "github":
        answers.append(send(stack.edge, "POST", path, BODY, sign(profile, path, at=1_000_000_000)))
    assert {answer.status for answer in answers} == {401}
    assert len({answer.body for answer in answers}) == 1, "the body must not tell the cause"
    assert stack.upstream.total() == before


def test_client_sent_copies_of_the_verified_headers_are_removed(edge):
    forged = {"x-portcullis-partner": "mallory", "x-portcullis-key-id": "mallory"}
    echo = send(edge, "GET", "/elsewhere", None, forged).json()["headers"]
    assert "x-portcullis-partner" not in echo and "x-portcullis-key-id" not in echo
    path = "/portcullis/a"
    echo = send(edge, "POST", path, BODY, {**sign("portcullis", path), **forged}).json()["headers"]
    assert (echo["x-portcullis-partner"], echo["x-portcullis-key-id"]) == ("acme", "k1")


def test_copies_spelled_with_underscores_are_removed(edge):
    # As CGI, WSGI and PHP upstreams read them, they are the same header.
    lines = "GET /elsewhere HTTP/1.1\r\nhost: edge\r\nx_portcullis_partner: mallory\r\n\r\n"
    with socket.create_connection(("127.0.0.1", edge.port), timeout=10) as connection:
        connection.sendall(lines.encode())
        answer = connection.recv(4000)
    assert answer.startswith(b"HTTP/1.1 200 ") and b"mallory" not in answer


@pytest.mark.parametrize(
    "key_id, counter",
    [("old", "expired_key"), ("elsewhere", "out_of_scope"), ("nobody", "unknown_key")],
)
def test_keys_that_may_not_be_used(edge, key_id, counter):
    name = f"portcullis_signature_portcullis_{counter}"
    before = edge.settled_metric(name)
    path = "/portcullis/a"
    answer = send(edge, "POST", path, BODY, sign("portcullis", path, key_id=key_id))
    assert answer.status == 401
    edge.wait_metric(name, before + 1)


@pytest.mark.parametrize("shift, status", [(-290, 200), (290, 200), (-310, 401), (310, 401)])
def test_the_clock_may_differ_by_300_seconds(edge, shift, status):
    path = "/portcullis/a"
    headers = sign("portcullis", path, at=signing.now() + shift)
    assert send(edge, "POST", path, BODY, headers).status == status


def test_skew_is_seen_per_key(edge):
    path = "/portcullis/skewed"
    send(edge, "POST", path, BODY, sign("portcullis", path, at=signing.now() - 200))
    assert "portcullis_signature_skew_ms_k1_count" in {name.partition("{")[0] for name in edge.metrics()}


# Framing ------------------------------------------------------------------------------------------


def curl(edge, path: str, headers: dict, *options: str, body: bytes = BODY) -> str:
    """The status curl got, for a body on its standard input."""
    argv = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "10"]
    for name, value in headers.items():
        argv += ["-H", f"{name}: {value}"]
    argv += ["-X", "POST", *options]
    argv += ["--data-binary", "@-", f"http://127.0.0.1:{edge.port}{path}"]
    # curl calls it an error if it is answered before it has sent everything.
    return subprocess.run(argv, input=body, capture_output=True, check=False).stdout.decode()


FRAMINGS = {
    "http/1.1": ["--http1.1"],
    "http/1.1 chunked": ["--http1.1", "-H", "transfer-encoding: chunked"],
    "http/1.1 expect": ["--http1.1", "-H", "expect: 100-continue"],
    "http/2": ["--http2-prior-knowledge"],
    "http/2 unknown length": ["--http2-prior-knowledge", "-H", "content-length:"],
}


@pytest.mark.parametrize("options", FRAMINGS.values(), ids=FRAMINGS)
@pytest.mark.parametrize("body", [b"", b"x", BODY, b"y" * 200_000], ids=len)
def test_every_framing(stack, options, body):
    path = "/portcullis/framing"
    good = sign("portcullis", path, body)
    assert curl(stack.edge, path, good, *options, body=body) == "200"
    before = stack.upstream.total()
    wrong = sign("portcullis", path, body + b"!")
    assert curl(stack.edge, path, wrong, *options, body=body) == "401"
    assert stack.upstream.total() == before


def nghttp(edge, path: str, headers: dict, body_file) -> list[str]:
    """HTTP/2 with trailers. The statuses that nghttp saw."""
    argv = ["nghttp", "-v", "-n", "-t", "10", "--trailer", "x-trailer: 1", "-d", str(body_file)]
    argv += ["-H", ":method: POST"]
    for name, value in headers.items():
        argv += ["-H", f"{name}: {value}"]
    argv.append(f"http://127.0.0.1:{edge.port}{path}")
    shown = subprocess.run(argv, capture_output=True, check=False).stdout.decode()
    return [line.split(":status: ")[1] for line in shown.splitlines() if ":status: " in line]


def test_trailers_over_http_2(stack, tmp_path):
    body_file = tmp_path / "body"
    body_file.write_bytes(BODY)
    path = "/portcullis/trailers"
    assert nghttp(stack.edge, path, sign("portcullis", path), body_file) == ["200"]
    before = stack.upstream.total()
    wrong = sign("portcullis", path, BODY + b"!")
    assert nghttp(stack.edge, path, wrong, body_file) == ["401"]
    assert stack.upstream.total() == before


def test_trailers_over_http_1(stack):
    path = "/portcullis/trailers"
    before = stack.upstream.total()
    for signed, status in [(BODY, b"200"), (BODY + b"!", b"401")]:
        headers = {**sign("portcullis", path, signed), "transfer-encoding": "chunked"}
        lines = [f"POST {path} HTTP/1.1", "host: edge", "trailer: x-trailer"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        chunked = b"%x\r\n%s\r\n0\r\nx-trailer: 1\r\n\r\n" % (len(BODY), BODY)
        with socket.create_connection(("127.0.0.1", stack.edge.port), timeout=10) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode() + chunked)
            assert connection.recv(1000).split()[1] == status
    assert stack.upstream.total() == before + 1


def test_a_body_that_comes_slowly_is_held_until_it_is_verified(stack):
    path = "/portcullis/slow"
    before = stack.upstream.total()
    headers = {**sign("portcullis", path), "host": "edge", "content-length": str(len(BODY))}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection(("127.0.0.1", stack.edge.port), timeout=10) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode())
        for at in range(len(BODY) - 1):
            connection.sendall(BODY[at : at + 1])
        assert stack.upstream.total() == before
        connection.sendall(BODY[-1:])
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
    assert stack.upstream.total() == before + 1


# Integrations -------------------------------------------------------------------------------------


def test_a_method_in_lower_case_is_the_method():
    demanding = integration("portcullis")
    demanding["match"] = [{"methods": ["POST"], "path": {"prefix": "/orders"}}]
    only = plugin.limits_only(integrations=[demanding], keys=[key()])
    with running(only, daemon=False) as stack:
        # Envoy takes it over HTTP/2 alone, and hands it on as it is. Without a body: see `FRAMINGS`.
        options = ["--http2-prior-knowledge", "-X", "post"]
        assert curl(stack.edge, "/orders", {}, *options, body=b"") == "401"
        assert stack.upstream.total() == 0


def test_too_large_a_body(stack, tmp_path):
    path = "/small/a"
    before = stack.upstream.total()
    for name, options in FRAMINGS.items():
        for size, status in [(1000, "200"), (1001, "413"), (300_000, "413")]:
            if name.startswith("http/2") and status == "413":
                continue  # curl takes an answer that comes before its last byte for none
            body = b"z" * size
            got = curl(stack.edge, path, sign("portcullis", path, body), *options, body=body)
            assert got == status, (name, size)
    body_file = tmp_path / "body"
    for size in [1001, 300_000]:
        body_file.write_bytes(b"z" * size)
        signed = sign("portcullis", path, b"z" * size)
        assert nghttp(stack.edge, path, signed, body_file) == ["413"], size
    assert stack.upstream.total() == before + len(FRAMINGS)
    assert stack.edge.settled_metric("portcullis_signature_portcullis_too_large") > 0


def test_content_type_and_address_are_pinned(edge):
    json_type = {"content-type": "application/json; charset=utf-8"}
    assert send(edge, "POST", "/pinned", b"{}", json_type).status == 200
    assert send(edge, "POST", "/pinned", b"{}", {"content-type": "text/plain"}).status == 415
    twice = ["-H", "content-type: application/json;a=", "-H", "content-type: text/plain"]
    assert curl(edge, "/pinned", {}, *twice) == "415"
    with edge.connect("127.1.0.1") as elsewhere:
        refused = elsewhere.request("POST", "/pinned", b"{}", content_type="application/json")
    assert refused.status == 403


def test_shadow_counts_and_lets_through(edge):
    name = "portcullis_signature_portcullis_missing"
    before = edge.settled_metric(name)
    assert send(edge, "POST", "/shadow/a", BODY, {}).status == 200
    edge.wait_metric(name, before + 1)


def test_the_verified_partner_is_in_the_access_log(edge):
    user = f"logged-{uuid.uuid4().hex[:8]}"
    path = "/portcullis/logged"
    signed = sign("portcullis", path)
    assert send(edge, "POST", path, BODY, signed, **{"x-user-id": user}).status == 200
    assert send(edge, "POST", path, BODY, signed, **{"x-user-id": user}).status == 409
    first, replayed = edge.access_log_of(user, requests=2)
    assert (first["partner"], first["key"]) == ("acme", "k1")
    ends = replayed["details"].split(";")
    assert ends[0] == "portcullis:rule=signature:replay" and ends[-2:] == ["partner=acme", "key=k1"]


@pytest.mark.parametrize("of", ["partner", "key_id"])
def test_a_signer_s_limit_counts_verified_requests_only(of):
    limit = {
        "name": "per-signer",
        "key": of,
        "max_tokens": 3,
        "tokens_per_fill": 3,
        "fill_interval": "3600s",
    }
    with running(config(limits=[limit]), daemon=False) as stack:
        path = "/portcullis/limited"
        for _ in range(10):
            forged = sign("portcullis", path, secret="not-the-partners-secret")
            assert send(stack.edge, "POST", path, BODY, forged).status == 401
        statuses = [send(stack.edge, "POST", path, BODY, sign("portcullis", path)).status for _ in range(4)]
        assert statuses == [200, 200, 200, 429]


# Replays ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
def test_a_request_is_accepted_once(edge, profile):
    body = uuid.uuid4().hex.encode()
    path = f"/{profile}/once"
    headers = sign(profile, path, body)
    first, second = (send(edge, "POST", path, body, headers) for _ in range(2))
    assert (first.status, second.status) == (200, 409)
    assert second.headers["content-type"] == "application/problem+json"


def test_of_64_connections_with_the_same_request_one_is_accepted(edge):
    path = "/portcullis/raced"
    headers = sign("portcullis", path)
    named = {name.replace("-", "_"): value for name, value in headers.items()}
    connections = [edge.connect() for _ in range(64)]
    for connection in connections:
        connection.get("/warm")
    start = threading.Barrier(len(connections))
    statuses: list[int] = []

    def replay(connection):
        start.wait()
        statuses.append(connection.request("POST", path, BODY, **named).status)

    threads = [threading.Thread(target=replay, args=(connection,)) for connection in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for connection in connections:
        connection.close()
    assert Counter(statuses) == {200: 1, 409: 63}


@pytest.fixture(scope="module")
def lenient():
    """Where senders may try again, and where they are told to stop."""
    signatures = {
        "hooks": {"profile": "standard-webhooks"},
        "once": {"profile": "standard-webhooks", "retries": "refuse"},
        "git": {"profile": "github", "remember": "1s", "replay_status": 200},
    }
    integrations = [
        {"name": name, "match": [{"path": {"prefix": f"/{name}"}}], "signature": signature}
        for name, signature in signatures.items()
    ]
    keys = [
        key("hooks", secret=signing.WEBHOOK_SECRET, profile="standard-webhooks"),
        key("git", secret=signing.SECRETS["github"], profile="github"),
    ]
    with running(plugin.limits_only(integrations=integrations, keys=keys), daemon=False) as started:
        yield started


def test_another_attempt_of_a_webhook_passes_unless_messages_count_once(lenient):
    for name, second in [("hooks", 200), ("once", 409)]:
        id, now = f"msg_{uuid.uuid4().hex}", signing.now()
        first = signing.standard_webhooks(BODY, id=id, at=now - 5)
        retry = signing.standard_webhooks(BODY, id=id, at=now)
        sent = [
            send(lenient.edge, "POST", f"/{name}/a", BODY, each).status
            for each in [first, retry, retry, first]
        ]
        assert sent == [200, second, 409, 409], name


def test_a_redelivery_of_github_is_acknowledged_and_passes_when_it_is_forgotten(lenient):
    headers = signing.github(BODY)
    before = lenient.upstream.total()
    assert send(lenient.edge, "POST", "/git/a", BODY, headers).json()["path"] == "/git/a"
    again = send(lenient.edge, "POST", "/git/a", BODY, headers)
    assert (again.status, again.json()) == (200, {"status": "received before"})
    assert lenient.upstream.total() == before + 1
    lenient.edge.wait_metric("portcullis_signature_github_replay", 1)

    def is_forgotten():
        send(lenient.edge, "POST", "/git/a", BODY, headers)
        return lenient.upstream.total() == before + 2

    wait_until(is_forgotten, "the delivery is forgotten")


# Forgeries ----------------------------------------------------------------------------------------


def test_random_changes_of_a_signed_request_are_refused(stack):
    """A taste of what the crate `signing` tests 10,000 times, here through everything in between."""
    chance = random.Random(20261122)
    path = "/portcullis/forged?amount=1"
    before = stack.upstream.total()
    with stack.edge.connect() as connection:
        for _ in range(300):
            parts = {"method": "POST", "path": path, "body": BODY.decode()}
            headers = sign("portcullis", path)
            name = chance.choice([*parts, *headers])
            old = parts.get(name) or headers[name]
            at = chance.randrange(1 if name == "path" else 0, len(old))
            new = old[:at] + chance.choice("abcdef0123456789") + old[at + 1 :]
            if name == "method":
                new = chance.choice(["PUT", "PATCH", "DELETE"])
            if new == old or not new.startswith(old[:12] if name == "path" else ""):
                continue
            parts[name if name in parts else "unused"] = new
            if name in headers:
                headers[name] = new
            sent = {key.replace("-", "_"): value for key, value in headers.items()}
            body = parts["body"].encode()
            answer = connection.request(parts["method"], parts["path"], body, **sent)
            assert answer.status == 401, (name, old, new)
    assert stack.upstream.total() == before


# Profiles -----------------------------------------------------------------------------------------


def one_key(profile: str | None, **changes) -> dict:
    """Every profile has an integration, and one key is all there is."""
    said = {"profile": profile} if profile else {}
    keys = [{"id": "k1", "partner": "acme", "secret": signing.SECRET, **said, **changes}]
    integrations = [integration(name) for name in PROFILES]
    # So that the others have a key as well, which nobody signs with.
    for name in PROFILES:
        secret = f"of-nobody-who-signs-{name}"
        keys.append({"id": f"no-{name}", "partner": "nobody", "secret": secret, "profile": name})
    return plugin.limits_only(integrations=integrations, keys=keys)


def by(profile: str, path: str) -> dict[str, str]:
    """Signed with the one key, whatever the profile."""
    secret = signing.SECRET.encode() if profile == "standard-webhooks" else signing.SECRET
    named = {"key_id": "k1"} if profile in {"portcullis", "body"} else {}
    return sign(profile, path, secret=secret, **named)


@pytest.mark.parametrize("own", ["portcullis", "github", "stripe"])
def test_a_signature_does_not_pass_as_one_of_another_profile(own):
    with running(one_key(own), daemon=False) as stack:
        for profile in PROFILES:
            path = f"/{profile}/a"
            status = send(stack.edge, "POST", path, BODY, by(profile, path)).status
            assert status == (200 if profile == own else 401), profile
        # GitHub's and Stripe's signatures, as those of the body that they are.
        digest = signing.github(BODY, secret=signing.SECRET)["x-hub-signature-256"]
        at = str(signing.now())
        as_body = {"x-signature": digest, "x-timestamp": at, "x-key-id": "k1"}
        assert send(stack.edge, "POST", "/body/b", BODY, as_body).status == 401
        mac = signing.stripe(BODY, secret=signing.SECRET, at=int(at))["stripe-signature"].partition("v1=")[2]
        as_github = {"x-hub-signature-256": f"sha256={mac}", "x-github-delivery": "d-1"}
        passed = send(stack.edge, "POST", "/github/b", f"{at}.".encode() + BODY, as_github)
        # To whom GitHub's profile is the right one, this is a signature of that body.
        assert passed.status == (200 if own == "github" else 401)


def test_a_key_that_could_be_of_several_profiles_is_refused(tmp_path):
    options = envoy.Options(plugin=one_key(None), upstream_port=1)
    file = tmp_path / "envoy.json"
    file.write_text(json.dumps(envoy.bootstrap(1, 2, tmp_path / "access.log", options)))
    refused = envoy.validate(file)
    assert refused.returncode != 0
    assert "keys[0].profile: must be given" in refused.stderr


# Signers that are not ours ------------------------------------------------------------------------


def test_the_standard_webhooks_package(edge):
    id = f"msg_{uuid.uuid4().hex}"
    at = datetime.now(UTC).replace(microsecond=0)
    signature = standardwebhooks.Webhook(signing.WEBHOOK_SECRET).sign(id, at, BODY.decode())
    headers = {
        "webhook-id": id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": signature,
    }
    assert send(edge, "POST", "/standard-webhooks/a", BODY, headers).status == 200


def webhook_secret(encoding: str) -> dict:
    """A secret that standard libraries decode although nothing says that it is Base64."""
    secret = base64.b64encode(b"a-secret-that-a-library-decodes").decode()
    return {"secret": secret, "secret_encoding": encoding, "profile": "standard-webhooks"}


@pytest.fixture(scope="module")
def hooks():
    key = {"id": "bare", "partner": "acme", **webhook_secret("base64")}
    config = plugin.limits_only(integrations=[integration("standard-webhooks")], keys=[key])
    with running(config, daemon=False) as stack:
        yield stack.edge


LIBRARIES = {"webhook": standardwebhooks.Webhook, "svix": svix.webhooks.Webhook}


def by_library(prefix: str, secret: str) -> dict[str, str]:
    id, at = f"msg_{uuid.uuid4().hex}", datetime.now(UTC).replace(microsecond=0)
    signature = LIBRARIES[prefix](secret).sign(id, at, BODY.decode())
    names = ["id", "timestamp", "signature"]
    values = [id, str(int(at.timestamp())), signature]
    headers = {f"{prefix}-{name}": value for name, value in zip(names, values, strict=True)}
    # What is sent is what the library itself would take.
    LIBRARIES[prefix](secret).verify(BODY, headers)
    return headers


@pytest.mark.parametrize("prefix", LIBRARIES)
def test_libraries_decode_secrets_without_a_prefix(hooks, prefix):
    headers = by_library(prefix, webhook_secret("base64")["secret"])
    assert send(hooks, "POST", "/standard-webhooks/a", BODY, headers).status == 200
    headers = by_library(prefix, "whsec_" + webhook_secret("base64")["secret"])
    assert send(hooks, "POST", "/standard-webhooks/a", BODY, headers).status == 200
    assert send(hooks, "POST", "/standard-webhooks/a", BODY, headers).status == 409


def test_without_being_told_a_secret_is_text():
    key = {"id": "bare", "partner": "acme", **webhook_secret("text")}
    config = plugin.limits_only(integrations=[integration("standard-webhooks")], keys=[key])
    with running(config, daemon=False) as stack:
        path = "/standard-webhooks/a"
        decoded = by_library("webhook", key["secret"])
        assert send(stack.edge, "POST", path, BODY, decoded).status == 401
        as_text = signing.standard_webhooks(BODY, secret=key["secret"].encode())
        assert send(stack.edge, "POST", path, BODY, as_text).status == 200


@pytest.mark.parametrize("name", ["id", "timestamp", "signature"])
def test_an_alias_that_says_something_else_is_refused(hooks, name):
    path, secret = "/standard-webhooks/a", webhook_secret("base64")["secret"]
    for prefix, other in [("svix", "webhook"), ("webhook", "svix")]:
        headers = by_library(prefix, secret)
        same = {**headers, f"{other}-{name}": headers[f"{prefix}-{name}"]}
        another = {**headers, f"{other}-{name}": headers[f"{prefix}-{name}"] + "1"}
        assert send(hooks, "POST", path, BODY, another).status == 401
        assert send(hooks, "POST", path, BODY, same).status == 200


def test_what_the_stripe_package_accepts_we_accept(edge):
    event = {"id": "evt_1", "object": "event", "uuid": uuid.uuid4().hex}
    body = json.dumps(event).encode()
    headers = signing.stripe(body)
    stripe.Webhook.construct_event(body, headers["stripe-signature"], signing.SECRETS["stripe"])
    assert send(edge, "POST", "/stripe/a", body, headers).status == 200


def test_github_s_documented_example():
    secret, body = "It's a Secret to Everybody", b"Hello, World!"
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    keys = [key("gh", secret=secret, profile="github")]
    example = plugin.limits_only(integrations=[integration("github")], keys=keys)
    with running(example, daemon=False) as stack:
        headers = {"x-hub-signature-256": signature, "x-github-delivery": str(uuid.uuid4())}
        assert send(stack.edge, "POST", "/github/a", body, headers).status == 200
        wrong = {**headers, "x-github-delivery": str(uuid.uuid4())}
        assert send(stack.edge, "POST", "/github/a", b"Hello, World?", wrong).status == 401


def test_openssl(edge):
    body = uuid.uuid4().hex.encode()
    digest = subprocess.run(
        ["openssl", "dgst", "-sha256", "-hmac", signing.SECRETS["body"]],
        input=body,
        capture_output=True,
        check=True,
    )
    signature = digest.stdout.decode().split()[-1]
    headers = {"x-signature": signature, "x-timestamp": str(signing.now()), "x-key-id": "body-1"}
    assert send(edge, "POST", "/body/a", body, headers).status == 200


K6 = """
import http from "k6/http";
import crypto from "k6/crypto";
import { check } from "k6";

export const options = { iterations: 20, thresholds: { checks: ["rate==1"] } };

export default function () {
  const path = "/portcullis/k6", body = JSON.stringify({ n: __ITER });
  const at = String(Math.floor(Date.now() / 1000)), nonce = `k6-${__VU}-${__ITER}-${at}`;
  const lines = ["v1", at, "k1", nonce, "POST", path, crypto.sha256(body, "hex")];
  const mac = crypto.hmac("sha256", __ENV.SECRET, lines.join("\\n"), "hex");
  const headers = {
    "x-signature": `v1=${mac}`, "x-timestamp": at, "x-key-id": "k1", "x-request-id": nonce,
  };
  const answer = http.post(`${__ENV.EDGE}${path}`, body, { headers });
  check(answer, { accepted: (a) => a.status === 200 });
}
"""


def test_k6(edge, tmp_path):
    script = tmp_path / "signed.js"
    script.write_text(K6)
    argv = [str(artifacts.k6()), "run", "--quiet", "--no-usage-report", "--address", "", str(script)]
    environment = {"SECRET": signing.SECRET, "EDGE": f"http://127.0.0.1:{edge.port}"}
    argv += [part for name, value in environment.items() for part in ("-e", f"{name}={value}")]
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


# Envoy's part -------------------------------------------------------------------------------------


@BODIES_KEPT_BACK
def test_without_body_callbacks_nothing_gets_through():
    with running(config(), daemon=False, body_callbacks=False) as stack:
        path = "/portcullis/a"
        answer = send(stack.edge, "POST", path, BODY, sign("portcullis", path))
        assert answer.status == 503
        assert stack.upstream.total() == 0
        log = stack.edge.process.log.read_text()
        assert "allow_on_headers_stop_iteration" in log
        # Requests that need no body are not touched by it.
        assert stack.edge.get("/", "somebody").status == 200


@BODIES_KEPT_BACK
def test_without_body_callbacks_other_bodies_change_nothing():
    with running(config(), daemon=False, body_callbacks=False, concurrency=1) as stack:
        assert send(stack.edge, "POST", "/elsewhere", BODY, {}).status == 200
        path = "/portcullis/a"
        answer = send(stack.edge, "POST", path, BODY, sign("portcullis", path))
        assert answer.status == 503


@BODIES_KEPT_BACK
def test_without_body_callbacks_shadow_rejects_nothing():
    with running(config(), daemon=False, body_callbacks=False, concurrency=1) as stack:
        for _ in range(2):
            path = "/shadow/a"
            answer = send(stack.edge, "POST", path, BODY, sign("portcullis", path))
            assert (answer.status, answer.json()["body"]) == (200, BODY.decode())
        stack.edge.wait_metric("portcullis_would_deny_body_not_held", 2)


def test_the_digest_of_nothing_is_signed_too(edge):
    path = "/portcullis/empty"
    headers = signing.portcullis("GET", path)
    assert hashlib.sha256(b"").hexdigest() not in str(headers)
    assert send(edge, "GET", path, None, headers).status == 200


def test_secrets_are_not_in_logs_or_stats(stack):
    log = stack.edge.process.log.read_text() + stack.edge.access_log.read_text()
    stats = stack.edge.admin("/stats/prometheus").body.decode()
    for secret in (signing.SECRET, base64.b64encode(signing.SECRET.encode()).decode()):
        assert secret not in log and secret not in stats
