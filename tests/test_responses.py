"""What a rejected client is told, and what it is not told."""

import math

import pytest

from harness.plugin import limits_only
from harness.stack import running

PER_USER = {
    "name": "per-user",
    "key": "user",
    "max_tokens": 2,
    "tokens_per_fill": 2,
    "fill_interval": "60s",
}
ROOMY = {**PER_USER, "name": "roomy", "max_tokens": 50, "tokens_per_fill": 50}
RATE_HEADERS = {"ratelimit", "ratelimit-policy", "retry-after"}
LEGACY_HEADERS = {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"}


def edge_with(responses: dict | None):
    config = limits_only(PER_USER, ROOMY, responses=responses)
    return running(config, daemon=False)


@pytest.fixture(scope="module")
def edge():
    with edge_with(None) as stack:
        yield stack.edge


@pytest.fixture(scope="module")
def talkative_edge():
    with edge_with({"ratelimit_headers": "always", "legacy_headers": True}) as stack:
        yield stack.edge


def names(response) -> set[str]:
    return {name.lower() for name in response.headers}


def exhaust(edge, user: str):
    """The answers to three requests where two are allowed."""
    answers = [edge.get("/", user) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    return answers


def parameters(item: str) -> dict[str, str]:
    """`"name";r=0;t=30` -> {"name": '"name"', "r": "0", "t": "30"}."""
    name, *pairs = item.split(";")
    return {"name": name, **dict(pair.split("=", 1) for pair in pairs)}


def test_429_tells_when_to_come_back(edge, user):
    rejected = exhaust(edge, user)[2]
    limit = parameters(rejected.headers["ratelimit"])
    assert limit["name"] == '"per-user"' and limit["r"] == "0"
    # Two tokens a minute: the next one is 30 s after the first request.
    assert 28 <= int(limit["t"]) <= 30
    assert rejected.headers["retry-after"] == limit["t"]
    policies = rejected.headers["ratelimit-policy"].split(", ")
    assert {'"per-user";q=2;w=60'} <= set(policies) <= {'"per-user";q=2;w=60', '"roomy";q=50;w=60'}


def test_429_body_is_a_problem(edge, user):
    rejected = exhaust(edge, user)[2]
    assert rejected.problem == "quota-exceeded"
    body = rejected.json()
    assert body["type"].startswith("https://iana.org/assignments/http-problem-types#")
    assert body["status"] == 429
    assert isinstance(body["title"], str) and body["title"]
    assert user not in rejected.body.decode()


def test_headers_only_on_rejection_by_default(edge, user):
    allowed, _, rejected = exhaust(edge, user)
    assert not names(allowed) & (RATE_HEADERS | LEGACY_HEADERS)
    assert names(rejected) & (RATE_HEADERS | LEGACY_HEADERS) == RATE_HEADERS


def test_headers_always(talkative_edge, user):
    first, second, rejected = exhaust(talkative_edge, user)
    assert parameters(first.headers["ratelimit"].split(", ")[0])["r"] == "1"
    assert parameters(second.headers["ratelimit"].split(", ")[0])["r"] == "0"
    assert "retry-after" not in names(first)
    assert names(rejected) >= RATE_HEADERS


def test_legacy_headers(talkative_edge, user):
    first, _, rejected = exhaust(talkative_edge, user)
    assert first.headers["x-ratelimit-limit"].partition(",")[0] == "2"
    assert first.headers["x-ratelimit-remaining"] == "1"
    assert rejected.headers["x-ratelimit-remaining"] == "0"
    wait_s = int(rejected.headers["x-ratelimit-reset"])
    assert math.isclose(wait_s, int(rejected.headers["retry-after"]), abs_tol=60)


def test_headers_off(user):
    with edge_with({"ratelimit_headers": "off"}) as stack:
        rejected = exhaust(stack.edge, user)[2]
        assert not names(rejected) & {"ratelimit", "ratelimit-policy"}


def test_block_is_opaque(stack, user):
    stack.daemon.block(user, reason="fraud.ring-7")
    rejected = stack.edge.get("/", user)
    assert rejected.status == 403
    body = rejected.json()
    assert body["status"] == 403 and rejected.headers["content-type"] == "application/problem+json"
    everything = (rejected.body.decode() + str(rejected.headers)).lower()
    for hint in "fraud", "block", "evt-", "portcullis", user:
        assert hint not in everything


def test_block_discloses_its_reason_if_asked_to(stack, user):
    stack.daemon.block(user, reason="cooling_off", disclose=True)
    assert stack.edge.get("/", user).json()["reason"] == "cooling_off"


def test_of_two_blocks_only_the_disclosed_reason_is_told(stack, user):
    stack.daemon.block(user, reason="cooling_off", disclose=True)
    stack.daemon.block(user, reason="fraud")
    rejected = stack.edge.get("/", user)
    assert rejected.status == 403
    assert "fraud" not in rejected.body.decode()


def test_blocked_requests_never_reach_the_upstream(stack, user):
    stack.daemon.block(user)
    for connection in stack.edge.every_worker():
        posted = connection.request("POST", "/bet", b"x" * 100_000, x_user_id=user)
        assert posted.status == 403
    assert stack.upstream.seen[user] == 0


def test_never_synced_is_503(user):
    with running() as stack:
        stack.daemon.process.kill()
        stack.edge.process.kill()
        stack.edge.start()
        rejected = stack.edge.get("/", user)
        assert rejected.status == 503
        assert rejected.problem == "temporary-reduced-capacity"
        assert stack.upstream.seen[user] == 0
        stack.edge.wait_metric("portcullis_denied_never_synced", 1)
