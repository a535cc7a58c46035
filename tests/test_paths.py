"""Where a request goes, where an upstream could find another place than the gate.

The spellings are those that a real Tomcat (10.1.34, embedded, with its defaults) behind the real
Envoy served as `/v1/bet`, or that other upstreams fold. It was tried by hand, beside these with 4,000
random paths made of such parts: of the blocked user's none came through, where 32 (Envoy
normalizes) and 65 (it does not) had before. `crates/gate/src/path.rs` has them as a table, too.
"""

import pytest

from harness import plugin, raw, signing
from harness.events import new_user
from harness.stack import Stack, running

GROUPS = [
    {"name": "bet", "match": [{"path": {"prefix": "/v1/bet"}}]},
    {"name": "public", "match": [{"path": {"prefix": "/public"}}]},
]
ONE = {"max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "3600s"}
LIMIT = {"name": "bets", "key": "user", "match": [{"route_group": "bet"}], **ONE}
SIGNED = {
    "name": "pay",
    "match": [{"methods": ["POST"], "path": {"prefix": "/v1/pay"}}],
    "signature": {"profile": "portcullis"},
}
KEY = {"id": "k1", "partner": "acme", "secret": signing.SECRET, "integrations": ["pay"]}

# One place: the upstream of most makes it of these.
SAME = [
    "/v1/bet", "/v1;x/bet", "/v1;a=b;c=d/bet;jsessionid=7", "/v1/bet;", "/v1;/bet",
    "/v1;x%20y=z/bet",
    "/v1/%62et", "/%76%31/bet", "/v1/bet/1", "/v1/bet;x/1", "/v1/bet?x=/public", "/v1/bet;x?y",
]  # fmt: skip
# Another place for one upstream than for another.
AMBIGUOUS = [
    "/;/v1/bet", "/;x/v1/bet", "/v1/;/bet", "/v1/;a=b/bet", "/public/..;/v1/bet",
    "/public/..;x=y/v1/bet", "/public/.%2e;/v1/bet", "/public/..%3b/v1/bet",
    "/public/x;/..;/../v1/bet",
    "/v1/bet/..;/bet", "/v1;/.;/bet", "/v1/bet%", "/v1/bet%u002f", "/%c0%ae%c0%ae/v1/bet",
]  # fmt: skip
# The same, which Envoy sees to where it normalizes paths.
WITHOUT_ENVOY = [
    "//v1/bet", "/v1//bet", "/v1/./bet", "/public/../v1/bet", "/public/%2e%2e/v1/bet",
    "/v1%2fbet", "/v1%5cbet", "/v1\\bet", "/public/..%2fv1/bet", "/public/..%5cv1/bet",
]  # fmt: skip
# Of these Envoy makes another place for everybody, and otherwise upstreams differ.
ELSEWHERE = ["//evil/v1/bet", "/v1;a=%2fzzz/bet"]


def config(**changes) -> dict:
    more = {"integrations": [SIGNED], "keys": [KEY], **changes}
    return plugin.standard(route_groups=GROUPS, limits=[LIMIT], **more)


@pytest.fixture(scope="module", params=[True, False], ids=["normalized", "as_written"])
def stack(request):
    """Whether or not Envoy makes paths plain before the gate sees them."""
    with running(config(), normalize=request.param) as started:
        yield started


def get(stack: Stack, path: str, user: str | None = None, method: str = "GET") -> int:
    return raw.h2(stack.edge.port, path, [("x-user-id", user)] if user else [], method).status


@pytest.mark.parametrize("path", [*SAME, *AMBIGUOUS, *WITHOUT_ENVOY])
def test_a_scope_cannot_be_walked_around(stack, user, path):
    is_same = path in SAME or (stack.edge.options.normalize and path in WITHOUT_ENVOY)
    stack.daemon.block(user, scope=["bet"])
    answer = get(stack, path, user)
    # Envoy itself takes some of these for a step upwards.
    assert answer in ({403} if is_same or path == "/v1//bet" else {400, 403}), path
    assert get(stack, "/public/x", user) == 200


@pytest.mark.parametrize("path", [*SAME, *AMBIGUOUS, *WITHOUT_ENVOY])
def test_a_limit_cannot_be_walked_around(stack, user, path):
    assert get(stack, "/v1/bet", user) == 200
    assert get(stack, path, user) in {400, 429}, path


@pytest.mark.parametrize("path", [*SAME, *AMBIGUOUS, *WITHOUT_ENVOY])
def test_a_signature_cannot_be_walked_around(stack, path):
    spelled = path.replace("bet", "pay").replace("%62et", "%70ay")
    assert get(stack, spelled, method="POST") in {400, 401}, spelled
    assert get(stack, spelled, method="post") in {400, 401}, spelled


@pytest.mark.parametrize("path", ELSEWHERE)
def test_another_place_is_one_for_everybody(stack, user, path):
    stack.daemon.block(user, scope=["bet"])
    answer = raw.h2(stack.edge.port, path, [("x-user-id", user)])
    assert answer.status == (200 if stack.edge.options.normalize else 400)
    assert answer.status == 400 or stack.upstream.last_path in {"/evil/v1/bet", "/v1;a=/zzz/bet"}


def test_other_paths_are_as_they_were(stack, user):
    stack.daemon.block(user, scope=["bet"])
    for path in (
        "/v1/better", "/v1", "/v1/be", "/x/v1/bet", "/v1x/bet", "/public/a b".replace(" ", "%20"),
        "/.well-known/x", "/a/...", "/;jsessionid=7", "/public/;jsessionid=7", "/100%25",
        "/k%c3%a4se",
        "/?next=/v1/../bet;//%2f%00", "/public/a;v=1/b", "/v1/bet.json",
    ):  # fmt: skip
        assert get(stack, path, user) == 200, path


def test_what_is_no_path_goes_nowhere(stack):
    for path in "http://localhost/v1/bet", "v1/bet", "", "*", "/v1/bet#x", "/v1/bet\x7f":
        assert get(stack, path) in {0, 400}, path
    for target in "/v1/bet#x", "/v1/\tbet", "v1/bet", "//\x01":
        assert raw.h1(stack.edge.port, f"GET {target} HTTP/1.1\nHost: x").status in {0, 400}, target


def test_an_absolute_target_is_its_path(stack, user):
    stack.daemon.block(user, scope=["bet"])
    for target in "http://localhost/v1/bet", "http://evil/v1;x/bet", "http://u:p@evil:80/v1/bet?x":
        head = f"GET {target} HTTP/1.1\nHost: x\nX-User-Id: {user}"
        assert raw.h1(stack.edge.port, head).status in {400, 403}, target


def test_paths_can_be_read_otherwise(user):
    paths = {"parameters": "refuse", "encoded_slashes": "decode", "ignore_case": True}
    with running(config(paths=paths), normalize=False) as stack:
        stack.daemon.block(user, scope=["bet"])
        for path in "/V1/BET", "/v1%2FBet/1", "/v1%5cbet", "/v1\\bet":
            assert get(stack, path, user) == 403, path
        for path in "/v1;x/bet", "/;jsessionid=7", "/public/..%2fv1/bet", "/a/..":
            assert get(stack, path, user) == 400, path
        assert get(stack, "/public/a%3bb%2fc", user) == 200


def test_shadow_of_ambiguous_paths_switches_off_no_other_rule(user):
    with running(config(paths={"shadow": True}), normalize=False) as stack:
        stack.daemon.block(user, scope=["bet"])
        for path in "/;/v1/bet", "/public/..;/v1/bet", "//v1/bet", "/v1%2fbet", "/x/../v1/bet":
            assert get(stack, path, user) == 403, path
            other = new_user()
            assert [get(stack, path, other) for _ in range(2)] == [200, 429], path
            assert get(stack, path.replace("bet", "pay"), method="POST") == 401, path
        assert stack.edge.settled_metric("portcullis_would_deny_ambiguous_path") >= 5
