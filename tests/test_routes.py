"""A plugin configuration of its own for one route, which Envoy has for dynamic modules alone."""

import json

import pytest

from harness import plugin
from harness.envoy import Options, bootstrap, validate
from harness.events import new_user
from harness.hosts import NATIVE, TYPES, Gate
from harness.stack import running

pytestmark = [
    pytest.mark.one_host("native", reason="Envoy has no configuration of wasm plugins for single routes"),
    pytest.mark.needs_envoy("native", (1, 39), reason="in an older one routes name a module, and no file"),
]
STRICT = {
    **plugin.PER_USER,
    "name": "strict",
    "max_tokens": 2,
    "tokens_per_fill": 1,
    "fill_interval": "3600s",
}


def routes(of_strict: dict) -> list[dict]:
    to = {"route": {"cluster": "upstream"}}
    gate = {"portcullis": NATIVE.for_route(Gate(of_strict))}
    return [
        {"match": {"prefix": "/strict"}, **to, "typed_per_filter_config": gate},
        {"match": {"prefix": "/"}, **to},
    ]


@pytest.fixture(scope="module")
def stack(host):
    with running(routes=routes(plugin.standard(limits=[STRICT]))) as started:
        yield started


def test_a_route_has_limits_of_its_own(stack, user):
    assert [stack.edge.get("/strict", user).status for _ in range(4)] == [200, 200, 429, 429]
    assert {stack.edge.get("/", user).status for _ in range(4)} == {200}
    (line, *_) = [one for one in stack.edge.access_log_of(user, 8) if one["status"] == 429]
    assert line["details"] == "portcullis:rule=limit:strict"


def test_a_block_holds_on_every_route(stack, user):
    stack.daemon.block(user)
    assert {stack.edge.get(path, user).status for path in ("/", "/strict")} == {403}
    stack.daemon.unblock(user)
    assert {stack.edge.get(path, user).status for path in ("/", "/strict")} == {200}


def test_a_route_may_know_users_otherwise(user):
    """Another route group, and another header that names the user."""
    other = plugin.standard(identity={"user": [{"header": "x-other-id"}], "missing_user": "deny"})
    with running(routes=routes(other)) as stack:
        stack.daemon.block(user)
        assert stack.edge.get("/strict", new_user(), x_other_id=user).status == 403
        assert stack.edge.get("/strict", user, x_other_id=new_user()).status == 200
        assert stack.edge.get("/strict", user).status == 401
        assert stack.edge.get("/", user).status == 403


def test_what_is_wrong_on_a_route_is_refused_by_envoy(tmp_path):
    wrong = plugin.standard(limits=[{**STRICT, "max_tokens": 0}])
    options = Options(plugin.standard(), 1, poll_address="127.0.0.1:1", routes=routes(wrong))
    file = tmp_path / "envoy.json"
    file.write_text(json.dumps(bootstrap(1, 2, tmp_path / "access.log", options)))
    refused = validate(file)
    assert refused.returncode != 0 and "limits[0].max_tokens" in refused.stderr


def test_a_route_without_the_gate_is_not_asked(user):
    off = {"portcullis": {"@type": f"{TYPES}envoy.config.route.v3.FilterConfig", "disabled": True}}
    open_route = {
        "match": {"prefix": "/open"},
        "route": {"cluster": "upstream"},
        "typed_per_filter_config": off,
    }
    rest = {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}
    with running(routes=[open_route, rest]) as stack:
        stack.daemon.block(user)
        assert stack.edge.get("/open", user).status == 200
        assert stack.edge.get("/", user).status == 403
