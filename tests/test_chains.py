"""Where the gate is not alone, or not asked: twice in a chain, a route that rewrites, a tunnel."""

import socket

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
    """Of the first path nothing is blocked, of the second it is."""
    policy = {"max_internal_redirects": 1, "redirect_response_codes": [302]}
    routes = [
        {
            "match": {"prefix": "/"},
            "route": {"cluster": "upstream", "internal_redirect_policy": policy},
        }
    ]
    with running(plugin.standard(), routes=routes) as stack:
        stack.upstream.redirects["/moved"] = f"http://127.0.0.1:{stack.edge.port}/bet"
        moved = stack.edge.get("/moved", user)
        assert moved.status == 200 and moved.json()["path"] == "/bet"
        stack.daemon.block(user, scope=["bet"])
        assert stack.edge.get("/else", user).status == 200
        assert stack.edge.get("/moved", user).status == 403


CONNECT = [
    {
        "match": {"connect_matcher": {}},
        "route": {
            "cluster": "upstream",
            "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}],
        },
    },
    {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}},
]


def tunnel(stack, user: str) -> int:
    head = f"CONNECT up.example:80 HTTP/1.1\r\nHost: up.example:80\r\nX-User-Id: {user}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", stack.edge.port), timeout=15) as connection:
        connection.sendall(head.encode())
        received = connection.recv(65536)
    return int(received.split(b" ")[1])


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
        assert tunnel(stack, user) == 200
        stack.daemon.block(user)
        assert tunnel(stack, user) == 403, "a block of everything holds"


REWRITES = [
    {"match": {"prefix": "/play"}, "route": {"cluster": "upstream", "prefix_rewrite": "/bet"}},
    {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}},
]


@pytest.mark.parametrize("knows", [False, True])
def test_rules_are_about_the_path_that_the_client_sends(user, knows):
    """The gate sees it before its route changes it, and cannot know that it will."""
    groups = [{"name": "bet", "match": [{"path": {"prefix": "/bet"}}]}]
    if knows:
        groups[0]["match"].append({"path": {"prefix": "/play"}})
    with running(plugin.standard(route_groups=groups), routes=REWRITES) as stack:
        stack.daemon.block(user, scope=["bet"])
        assert stack.edge.get("/bet/1", user).status == 403
        assert stack.edge.get("/play/1", user).status == (403 if knows else 200)


DISABLED = [
    {
        "match": {"prefix": "/open"},
        "route": {"cluster": "upstream"},
        "typed_per_filter_config": {
            "portcullis": {
                "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig",
                "disabled": True,
            }
        },
    },
    {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}},
]


def test_where_the_gate_is_disabled_only_envoy_removes_what_only_the_gate_may_say(user):
    """What the examples do: before any filter, and so also where there is none."""
    early = {
        "name": "envoy.http.early_header_mutation.header_mutation",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.http.early_header_mutation"
            ".header_mutation.v3.HeaderMutation",
            "mutations": [{"remove": "x-portcullis-partner"}, {"remove": "x-portcullis-key-id"}],
        },
    }
    forged = {"x_portcullis_partner": "acme", "x_portcullis_key_id": "k1"}

    def passes(path: str, **options) -> bool:
        with running(plugin.standard(), routes=DISABLED, **options) as stack:
            stack.daemon.block(user)
            answer = stack.edge.get(path, user, **forged)
            assert answer.status == (200 if path == "/open" else 403)
            return any("portcullis" in name for name in answer.json().get("headers", {}))

    assert passes("/open"), "there is no gate: this is what the security model warns of"
    assert not passes("/open", early_mutations=[early])
