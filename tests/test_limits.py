"""Token buckets: burst, refill, what they are keyed by, which requests they count."""

import socket

import pytest

from harness import plugin
from harness.client import hammer
from harness.events import event, new_user
from harness.plugin import limits_only
from harness.proc import wait_until
from harness.stack import running


def limit(name: str, key, tokens: int, interval: str = "3600s", **more) -> dict:
    """`tokens` at once; with the usual interval none comes back during a test."""
    refill = {"max_tokens": tokens, "tokens_per_fill": tokens, "fill_interval": interval}
    return {"name": name, "key": key, **refill, **more}


def only(path: str) -> list[dict]:
    return [{"path": {"prefix": path}}]


# One Envoy for all tests here: each subject has a path of its own.
LIMITS = [
    limit("burst", "user", 5, match=only("/burst")),
    limit("refill", "user", 2, "1s", match=only("/refill")),
    # 50 at once, then 200 a second.
    {**limit("hammer", "user", 50, match=only("/hammer")), "tokens_per_fill": 200} | {"fill_interval": "1s"},
    limit("wide", "user", 6, match=only("/several")),
    limit("narrow", "user", 2, match=only("/several/narrow")),
    limit("writes", "user", 1, match=[{"methods": ["POST", "PUT"], "path": {"prefix": "/rw"}}]),
    limit("exact", "user", 1, match=[{"path": {"exact": "/exact"}}]),
    limit("regex", "user", 1, match=[{"path": {"regex": "/v[0-9]+/orders"}}]),
    limit("either", "user", 1, match=[{"path": {"exact": "/a"}}, {"route_group": "bet"}]),
    limit("per-session", "session", 2, match=only("/session")),
    limit("per-partner", "partner", 2, match=only("/partner")),
    limit("per-key", {"header": "x-api-key"}, 2, match=only("/key")),
    limit("per-ip", "client_ip", 3, match=only("/ip")),
    limit("shadowed", "user", 2, match=only("/shadow"), shadow=True),
]

IDENTITY = {
    "user": [{"header": "x-user-id"}, {"header": "x-other-id"}, {"cookie": "uid"}],
    "session": [{"cookie": "sid"}],
    "partner": [{"header": "x-partner"}],
    "missing_user": "allow",
}


@pytest.fixture(scope="module")
def edge():
    config = limits_only(*LIMITS, identity=IDENTITY, route_groups=plugin.ROUTE_GROUPS)
    with running(config, daemon=False) as stack:
        yield stack.edge


def statuses(edge, count: int, path: str, **headers) -> list[int]:
    """`count` requests over connections of their own, so over both workers."""
    return [edge.get(path, **headers).status for _ in range(count)]


def test_burst_then_429(edge, user):
    assert statuses(edge, 7, "/burst", user=user) == [200] * 5 + [429] * 2


def test_users_have_buckets_of_their_own(edge):
    assert statuses(edge, 6, "/burst", user=new_user()) == [200] * 5 + [429]
    assert statuses(edge, 6, "/burst", user=new_user()) == [200] * 5 + [429]


def test_bucket_refills(edge, user):
    assert statuses(edge, 3, "/refill", user=user) == [200, 200, 429]
    wait_until(lambda: edge.get("/refill", user).status == 200, "a token to come back", 2)


def test_one_user_hammered_over_both_workers_gets_exactly_the_limit(edge, user):
    burst, per_s, seconds = 50, 200, 3
    connections = [c for _ in range(2) for c in edge.every_worker()]
    result = hammer(connections, seconds, "/hammer", user=user)
    assert set(result.statuses) == {200, 429}
    allowed = result.statuses[200]
    assert sum(result.statuses.values()) > 2 * allowed, "too little demand to prove anything"
    assert allowed <= burst + per_s * result.elapsed_s
    assert allowed >= 0.98 * (burst + per_s * result.demand_s)


def test_every_matching_limit_counts(edge, user):
    assert statuses(edge, 3, "/several/narrow", user=user) == [200, 200, 429]
    # What the narrow limit rejected must not have used up the wide one: 6 - 2 are left.
    assert statuses(edge, 5, "/several/wide", user=user) == [200] * 4 + [429]


def test_methods(edge, user):
    assert edge.request("POST", "/rw", x_user_id=user).status == 200
    assert edge.request("PUT", "/rw", x_user_id=user).status == 429
    assert edge.request("GET", "/rw", x_user_id=user).status == 200


def test_exact_path_ignores_the_query_and_nothing_else(edge, user):
    assert edge.get("/exact?q=1", user).status == 200
    assert edge.get("/exact?q=2", user).status == 429
    assert edge.get("/exact/below", user).status == 200


def test_prefix_is_by_segment(edge, user):
    assert statuses(edge, 3, "/burst/below", user=user) == [200] * 3
    assert statuses(edge, 9, "/burstling", user=user) == [200] * 9
    assert statuses(edge, 3, "/burst?x", user=user) == [200, 200, 429]


def test_regex_matches_the_whole_path(edge, user):
    assert edge.get("/v12/orders", user).status == 200
    assert edge.get("/v2/orders", user).status == 429
    assert edge.get("/x/v2/orders/1", user).status == 200


def test_paths_are_matched_as_envoy_normalized_them(edge, user):
    assert edge.get("/exact", user).status == 200
    assert edge.get("/other/..//exact", user).status == 429
    assert edge.get("/%65xact", user).status == 429


def test_match_entries_are_alternatives(edge, user):
    assert edge.get("/a", user).status == 200
    assert edge.get("/bet/7", user).status == 429


def test_key_session(edge, user):
    cookie = f"theme=dark; sid={user}"
    assert statuses(edge, 3, "/session", cookie=cookie) == [200, 200, 429]
    assert edge.get("/session", cookie=f"sid={user}-other").status == 200


def test_key_partner(edge, user):
    assert statuses(edge, 3, "/partner", x_partner=user) == [200, 200, 429]
    assert edge.get("/partner", x_partner=f"{user}-other").status == 200


def test_key_header(edge, user):
    assert statuses(edge, 3, "/key", x_api_key=user) == [200, 200, 429]
    assert edge.get("/key", x_api_key=f"{user}-other").status == 200


def test_key_client_ip(edge):
    for ip in "127.0.0.2", "127.0.0.3":
        seen = []
        for _ in range(4):  # a port of its own each time: the port is no part of the key
            with edge.connect(source_ip=ip) as connection:
                seen.append(connection.get("/ip", x_forwarded_for=new_user("10.0.0")).status)
        assert seen == [200] * 3 + [429]


def test_same_id_as_user_and_as_session_are_two_subjects(edge, user):
    assert statuses(edge, 3, "/session", cookie=f"sid={user}") == [200, 200, 429]
    assert statuses(edge, 6, "/burst", user=user) == [200] * 5 + [429]


def test_a_request_without_the_key_is_not_counted(edge):
    assert statuses(edge, 4, "/key") == [200] * 4


def test_identity_sources_are_asked_in_order(edge, user):
    other, third = new_user(), new_user()
    assert statuses(edge, 6, "/burst", user=user, x_other_id=other) == [200] * 5 + [429]
    assert statuses(edge, 6, "/burst", x_other_id=other, cookie=f"uid={third}") == [200] * 5 + [429]
    assert statuses(edge, 6, "/burst", cookie=f"uid={third}") == [200] * 5 + [429]
    assert edge.get("/burst", cookie=f"uid={user}").status == 429


def test_missing_identity_allowed(edge):
    assert statuses(edge, 8, "/burst") == [200] * 8


def test_missing_identity_denied(user):
    identity = {**plugin.USER_BY_HEADER, "missing_user": "deny"}
    config = limits_only(limit("l", "user", 2), identity=identity)
    with running(config, daemon=False) as stack:
        rejected = stack.edge.get("/")
        assert rejected.status == 401
        assert rejected.headers["content-type"] == "application/problem+json"
        assert stack.edge.get("/", user="").status == 401
        assert stack.upstream.seen.total() == 0
        assert stack.edge.get("/", user).status == 200
        stack.edge.wait_metric("portcullis_denied_missing_identity", 2)


def test_shadowed_limit_counts_but_never_rejects(edge, user):
    before = edge.settled_metric("portcullis_limit_shadowed_would_deny")
    assert statuses(edge, 5, "/shadow", user=user) == [200] * 5
    edge.wait_metric("portcullis_limit_shadowed_would_deny", before + 3)
    edge.wait_metric("portcullis_limit_shadowed_denied", 0)


def test_global_shadow_rejects_nothing(user):
    identity = {**plugin.USER_BY_HEADER, "missing_user": "deny"}
    config = plugin.standard(shadow=True, identity=identity, limits=[limit("l", "user", 2)])
    with running(config) as stack:
        assert statuses(stack.edge, 4, "/", user=user) == [200] * 4
        blocked = new_user()
        said = stack.daemon.post(event("block", blocked, reason="fraud")).json()
        assert said["enforced"] is False, said
        assert stack.edge.get("/", blocked).status == 200
        assert stack.edge.get("/").status == 200
        counted = stack.edge.settled_metric
        assert counted("portcullis_would_deny_limit") == 2
        assert counted("portcullis_would_deny_block") == 1
        assert counted("portcullis_would_deny_missing_identity") >= 1
        assert counted("portcullis_denied_block") == counted("portcullis_denied_limit") == 0


def send_raw(edge, *lines: str) -> int:
    """One HTTP/1.1 request with exactly these header lines. Returns the status."""
    with socket.create_connection(("127.0.0.1", edge.port), timeout=10) as connection:
        head = "\r\n".join(["GET / HTTP/1.1", "host: edge", "connection: close", *lines])
        connection.sendall(f"{head}\r\n\r\n".encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return int(answer.split(b" ", 2)[1])


def test_every_value_of_an_identity_counts():
    per_user = limit("per-user", "user", 1)
    per_key = limit("per-key", {"header": "x-api-key"}, 1)
    identity = {"user": [{"cookie": "uid"}], "missing_user": "allow"}
    with running(limits_only(per_user, per_key, identity=identity), daemon=False) as stack:
        edge = stack.edge
        assert send_raw(edge, "cookie: a=1", "cookie: uid=alice") == 200
        assert send_raw(edge, "cookie: uid=alice") == 429
        assert send_raw(edge, "cookie: uid=bob; uid=%61lice") == 429
        assert send_raw(edge, "x-api-key: k") == 200
        assert send_raw(edge, "x-api-key: other", "x-api-key: k") == 429
        assert send_raw(edge, "x-api-key: ", "x-api-key: k") == 429
        long = "x" * 5000
        assert send_raw(edge, f"x-api-key: {long}") == 200
        assert send_raw(edge, f"x-api-key: {long}") == 429
        assert send_raw(edge, *(f"x-api-key: {number}" for number in range(5))) == 400
