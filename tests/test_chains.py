"""Where the gate is not alone, or not there: twice in a chain, before a route that rewrites, in a tunnel."""

import pytest

from harness import plugin, raw, signing
from harness.events import new_user
from harness.plugin import limits_only
from harness.stack import running

BODY = b"{}"
LIMIT = {
    "name": "per-user",
    "key": "user",
    "max_tokens": 4,
    "tokens_per_fill": 4,
    "fill_interval": "3600s",
}


def signed(**changes) -> dict:
    integration = {
        "name": "payments",
        "match": [{"path": {"prefix": "/pay"}}],
        "signature": {"profile": "portcullis"},
    }
    key = {"id": "k1", "partner": "acme", "secret": signing.SECRET, "profile": "portcullis"}
    return limits_only(LIMIT, integrations=[integration], keys=[key], **changes)


def pay(edge):
    lines = signing.portcullis("POST", "/pay", BODY)
    return edge.request("POST", "/pay", BODY, **{k.replace("-", "_"): v for k, v in lines.items()})


def test_the_same_gate_twice_is_one(user):
    with running(signed(), daemon=False, second_gate=signed()) as stack:
        edge = stack.edge
        assert [edge.get("/", user).status for _ in range(5)] == [200] * 4 + [429]
        answer = pay(edge)
        assert answer.status == 200
        seen = answer.json()["headers"]
        assert seen["x-portcullis-partner"] == "acme"
        edge.wait_metric("portcullis_repeated", 5)
        said = edge.process.log.read_text()
        assert "stands twice in a chain" in said
        assert said.count("stands twice in a chain") <= 4, "once for each worker"


def test_two_different_gates_in_a_chain_are_refused(user):
    other = signed(stat_prefix="other")
    with running(signed(), daemon=False, second_gate=other) as stack:
        edge = stack.edge
        answer = edge.get("/", user)
        assert answer.status == 503
        (line,) = edge.access_log_of(user)
        assert line["details"] == "portcullis:rule=second_gate"
        edge.wait_metric("other_denied_second_gate", 1)
        assert "another gate stands before this one" in edge.process.log.read_text()


def test_the_mark_cannot_be_sent(user):
    """Nothing that a client sends makes the gate think that it was there already."""
    with running(signed(), daemon=False) as stack:
        lines = [("x-user-id", user), ("wasm.portcullis_gate", "1"), ("portcullis_gate", "1")]
        statuses = [raw.h2(stack.edge.port, "/", lines).status for _ in range(5)]
        assert statuses == [200] * 4 + [429]
        assert stack.edge.metric("portcullis_repeated") == 0


def test_an_internal_redirect_is_decided_again(user):
    """The stream is another one, and so is the path."""
    routes = [
        {
            "match": {"prefix": "/moved"},
            "direct_response": {"status": 302},
            "response_headers_to_add": [
                {"header": {"key": "location", "value": "/bet"}}
            ],
        },
        {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}},
    ]
    with running(signed(), daemon=False, routes=routes) as stack:
        assert [stack.edge.get("/", user).status for _ in range(5)] == [200] * 4 + [429]


CONNECT = [
    {"match": {"connect_matcher": {}}, "route": {"cluster": "upstream", "upgrade_configs": [
        {"upgrade_type": "CONNECT", "connect_config": {}}]}},
    {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}},
]


def tunnel(stack, user: str) -> int:
    head = f"CONNECT upstream.example:80 HTTP/1.1\nHost: upstream.example:80\nX-User-Id: {user}"
    return raw.h1(stack.edge.port, head).status


def test_a_tunnel_does_not_walk_around_a_scope(user):
    """What is asked for in it, nobody sees."""
    options = {"routes": CONNECT, "upgrades": ["CONNECT"]}
    with running(plugin.standard(), **options) as stack:
        stack.daemon.block(user, scope=["bet"])
        assert tunnel(stack, user) == 400
        assert tunnel(stack, new_user()) == 400
        (line,) = stack.edge.access_log_of(user)
        assert line["details"] == "portcullis:rule=ambiguous_path"


def test_tunnels_may_be_let_through(user):
    options = {"routes": CONNECT, "upgrades": ["CONNECT"]}
    with running(plugin.standard(paths={"connect": "allow"}), **options) as stack:
        before = stack.edge.metric("portcullis_allowed")
        tunnel(stack, user)
        assert stack.edge.settled_metric("portcullis_allowed") > before
        stack.daemon.block(user)
        assert tunnel(stack, user) == 403, "a block of everything holds"


REWRITES = [
    {"match": {"prefix": "/play"}, "route": {"cluster": "upstream", "prefix_rewrite": "/bet"}},
    {"match": {"prefix": "/v1/"}, "route": {"cluster": "upstream", "prefix_rewrite": "/"}},
    {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}},
]


@pytest.mark.parametrize("path, is_told", [("/play/1", True), ("/v1/bet", True), ("/v1/else", False)])
def test_a_route_that_rewrites_into_a_scope_is_told(user, path, is_told):
    """The gate sees the path before its route changes it: that cannot be helped, but it can be seen."""
    with running(plugin.standard(), routes=REWRITES) as stack:
        with stack.edge.connect() as one:
            assert {one.get(path, new_user()).status for _ in range(300)} == {200}
        assert (stack.edge.settled_metric("portcullis_rewritten") > 0) == is_told
        assert ("rewritten to a path of another" in stack.edge.process.log.read_text()) == is_told
