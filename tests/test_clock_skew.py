"""A partner whose clock is wrong: requests that only their time speaks against can go on, marked, to another route."""

import json
import uuid

import pytest

from harness import envoy, plugin, signing
from harness.stack import running

BODY = b'{"amount": 100}'
SKEW_S = 540  # nine minutes

# The operator's buffer: what is marked goes there, whatever its path.
MARKED = {"name": "x-portcullis-verdict", "string_match": {"exact": "clock_skew"}}
ROUTES = [
    {
        "match": {"prefix": "/", "headers": [MARKED]},
        "route": {"cluster": "upstream", "prefix_rewrite": "/buffer/"},
    },
    {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}},
]


def config(on_clock_skew: object) -> dict:
    signature = {"profile": "portcullis", "on_clock_skew": on_clock_skew}
    return plugin.limits_only(
        route_groups=[{"name": "feeds", "match": [{"path": {"prefix": "/partners/feed"}}]}],
        integrations=[
            {"name": "partners", "match": [{"path": {"prefix": "/partners"}}], "signature": signature}
        ],
        keys=[{"id": "k1", "partner": "acme", "secret": signing.SECRET}],
    )


@pytest.fixture(scope="module")
def stack():
    with running(config({"mark": ["feeds"], "up_to": "15m"}), daemon=False, routes=ROUTES) as started:
        yield started


def send(stack, path: str, headers: dict, body: bytes = BODY):
    named = {name.replace("-", "_"): value for name, value in headers.items()}
    return stack.edge.request("POST", path, body, **named)


def signed(path: str, skew_s: int = 0, **options) -> dict:
    return signing.portcullis("POST", path, BODY, at=signing.now() + skew_s, **options)


@pytest.mark.parametrize("skew_s", [-SKEW_S, SKEW_S])
def test_a_marked_request_goes_to_the_buffer_once(stack, skew_s):
    name = "portcullis_signature_portcullis_clock_skew"
    before = stack.edge.settled_metric(name)
    headers = signed("/partners/feed?a=1", skew_s)
    answer = send(stack, "/partners/feed?a=1", headers)
    assert answer.status == 200, answer.body
    echo = answer.json()
    assert echo["path"] == "/buffer/partners/feed?a=1"
    assert echo["body"] == BODY.decode()
    assert echo["headers"]["x-portcullis-verdict"] == "clock_skew"
    assert echo["headers"]["x-portcullis-partner"] == "acme"
    assert send(stack, "/partners/feed?a=1", headers).status == 409
    stack.edge.wait_metric(name, before + 1)


def test_a_request_in_time_is_not_marked(stack):
    echo = send(stack, "/partners/feed", signed("/partners/feed", -200)).json()
    assert echo["path"] == "/partners/feed"
    assert "x-portcullis-verdict" not in echo["headers"]


def test_only_the_time_may_be_wrong(stack):
    before = stack.upstream.total()
    late = signed("/partners/feed", -SKEW_S)
    for headers, body in [
        (late, BODY + b" "),
        (signed("/partners/feed", -SKEW_S, secret="not-the-partners-secret"), BODY),
        (signed("/partners/feed", -SKEW_S, key_id="nobody"), BODY),
        (signed("/partners/feed", -1_000), BODY),
        (signed("/partners/feed", 1_000), BODY),
    ]:
        assert send(stack, "/partners/feed", headers, body).status == 401
    elsewhere = signed("/partners/orders", -SKEW_S)
    assert send(stack, "/partners/orders", elsewhere).status == 401, "only in the route groups that are named"
    assert stack.upstream.total() == before


@pytest.mark.parametrize("name", ["x-portcullis-verdict", "X-Portcullis-Verdict"])
def test_clients_cannot_mark_their_requests(stack, name):
    for path in ["/partners/feed", "/elsewhere"]:
        echo = send(stack, path, {**signed(path), name: "clock_skew"}).json()
        assert echo["path"] == path and "x-portcullis-verdict" not in echo["headers"]


def test_marking_is_configured_with_a_route_group_or_not_at_all(tmp_path):
    file = tmp_path / "envoy.json"
    for wrong, field in [("mark", "on_clock_skew:"), ({"mark": [], "up_to": "15m"}, "on_clock_skew.mark:")]:
        options = envoy.Options(plugin=config(wrong), upstream_port=1)
        file.write_text(json.dumps(envoy.bootstrap(1, 2, tmp_path / f"{uuid.uuid4()}.log", options)))
        refused = envoy.validate(file)
        assert refused.returncode != 0 and f"integrations[0].signature.{field}" in refused.stderr
