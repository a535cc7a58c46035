"""Who a request is from, where an upstream could read somebody else than the gate.

Each of these went to the upstream of a blocked user, or past a limit, over the real Envoy before.
"""

import json
import random
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import unquote, unquote_plus

import pytest

from harness import plugin, raw, signing
from harness.events import new_user
from harness.raw import Lines
from harness.stack import running

FIVE = {"max_tokens": 5, "tokens_per_fill": 5, "fill_interval": "3600s"}
IDENTITY = {
    "user": [{"header": "x-user-id"}],
    "session": [{"cookie": "sid"}],
    "partner": [{"header": "x-partner-id"}],
    "missing_user": "allow",
}
LIMITS = [
    {"name": "per-session", "key": "session", **FIVE, "match": [{"path": {"prefix": "/limited"}}]},
    {"name": "per-partner", "key": "partner", **FIVE},
    {"name": "per-key", "key": {"header": "x-api-key"}, **FIVE},
]
PAY = {
    "name": "pay",
    "match": [{"path": {"prefix": "/pay"}}],
    "signature": {"profile": "portcullis", "nonce": "required"},
}
KEY = {"id": "k1", "partner": "acme", "secret": signing.SECRET, "integrations": ["pay"]}
# As a client or another proxy may leave it around a value.
BLANKS = [("", " "), (" ", ""), ("", "\t"), ("\t ", " \t"), ("", " " * 40)]


@pytest.fixture(scope="module")
def stack():
    with running(plugin.standard(identity=IDENTITY, limits=LIMITS)) as started:
        yield started


def by_user(stack, value: str | bytes, *more: tuple[str, str]) -> int:
    return raw.h2(stack.edge.port, "/", [("x-user-id", value), *more]).status


def by_cookie(stack, *lines: str) -> int:
    return raw.h2(stack.edge.port, "/", [("cookie", line) for line in lines]).status


@pytest.mark.parametrize("before, after", BLANKS)
def test_a_block_holds_with_blanks_around_the_id(stack, user, before, after):
    assert by_user(stack, f"{before}{user}{after}") == 200
    stack.daemon.block(user)
    assert by_user(stack, f"{before}{user}{after}") == 403
    written = f"GET / HTTP/1.1\nHost: x\nX-User-Id:{before}{user}{after}"
    assert raw.h1(stack.edge.port, written).status == 403


@pytest.mark.parametrize("header", ["x-api-key", "x-partner-id"])
def test_a_limit_holds_with_blanks_around_its_key(stack, user, header):
    """60 of 60 went past a limit of 5."""
    values = [" " * (n % 8) + user + "\t" * (n // 8) for n in range(60)]
    statuses = [raw.h2(stack.edge.port, "/", [(header, value)]).status for value in values]
    assert statuses == [200] * 5 + [429] * 55


def test_a_limit_counts_its_header_under_another_name(stack, user):
    lines = [[("x-api-key", user)], [("x_api_key", user)], [("x-api_key", user)]]
    statuses = [raw.h2(stack.edge.port, "/", line).status for line in lines * 3]
    assert statuses == [200] * 5 + [429] * 4


@pytest.mark.parametrize("before, after", BLANKS[:4])
def test_a_blocked_session_with_blanks_around_it(stack, user, before, after):
    stack.daemon.block(session=user)
    assert by_cookie(stack, f"a=1;sid={before}{user}{after}; b=2") == 403
    assert by_cookie(stack, "a=1", f"sid{before}={after}{user}") == 403


def test_what_cannot_be_one_id_is_refused(stack, user):
    stack.daemon.block(user)
    for value in (
        f"{user},other",
        f"other, {user}",
        f"{user},",
        f"{user[:3]}\t{user[3:]}",
        f"{user}\u00a0",
        f"\u2003{user}",
        f"{user}\ufeff",
        user.encode() + b"\xa0",
        user.encode() + b"\x85",
        b"\xe9" + user.encode(),
    ):
        assert by_user(stack, value) == 400, value
    # Envoy's own parsers refuse these.
    for value in f"{user}\0", f"{user}\n", f"{user}\r", f"{user}\x0b", f"{user}\x7f":
        assert by_user(stack, value) in {0, 400}, value


def test_a_name_with_an_underscore_is_refused(stack, user):
    """CGI, WSGI and PHP make one variable of `x-user-id` and `x_user_id`."""
    stack.daemon.block(user)
    for alias in "x_user_id", "x-user_id", "x_user-id":
        assert by_user(stack, new_user(), (alias, user)) == 400, alias
        assert raw.h2(stack.edge.port, "/", [(alias, user)]).status == 400, alias
    assert by_user(stack, new_user(), ("x_user_ids", user)) == 200


def test_several_lines_name_everybody(stack, user):
    stack.daemon.block(user)
    assert by_user(stack, new_user(), ("x-user-id", user)) == 403
    assert by_user(stack, "", ("x-user-id", f"{user} ")) == 403
    assert by_user(stack, new_user(), ("x-user-id", "")) == 200


def test_a_folded_header_is_what_the_upstream_gets(stack, user):
    """Envoy joins the lines of a folded header; so nobody sees the first alone."""
    stack.daemon.block(user)
    folded = raw.h1(stack.edge.port, f"GET / HTTP/1.1\nHost: x\nX-User-Id: other\n {user}")
    if folded.status == 200:
        assert f'"other {user}"'.encode() in folded.body
    assert raw.h1(stack.edge.port, f"GET / HTTP/1.1\nHost: x\nX-User-Id:\n {user}").status != 200


def test_pseudo_headers_stand_once(stack):
    twice = [(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", "/public")]
    assert raw.h2_lines(stack.edge.port, twice).status == 200
    assert raw.h2_lines(stack.edge.port, [*twice, (":path", "/bet")]).status in {0, 400}
    assert raw.h2_lines(stack.edge.port, [*twice, ("x-a", "1"), (":path", "/b")]).status in {0, 400}


def _header_readings(values: list[bytes]) -> set[str]:
    """What upstreams may take for the user: of one line or all, joined, split, trimmed."""
    joined = [b",".join(values), b", ".join(values), *values]
    texts = [value.decode(code, "replace") for value in joined for code in ("utf-8", "latin-1")]
    parts = [part for text in texts for part in (text, *text.split(","))]
    trims = (None, " \t", "\ufeff")
    return {part.partition("\0")[0].strip(trim) for part in parts for trim in trims} | set(parts)


def test_no_reader_finds_a_blocked_user_that_the_gate_does_not(stack, user):
    """Random header lines over HTTP/2, in which Envoy trims nothing."""
    stack.daemon.block(user)
    name = user.encode()
    pieces = [b" ", b"\t", b",", b"x", b"\xa0", b"\xc2\xa0", b"\x85", b"\xe2\x80\x83"]
    pieces += [b"\xef\xbb\xbf", b"", b"", b"", b"", b"%20", b'"', b";", name, name.upper()]
    seed = random.randrange(1 << 32)
    dice, found = random.Random(seed), 0
    for _ in range(1200):
        lines = [
            b"".join([*dice.choices(pieces, k=2), dice.choice([name, b"bob"]), dice.choice(pieces)])
            for _ in range(dice.choice([1, 1, 2]))
        ]
        sent = [(dice.choice(["x-user-id"] * 5 + ["x_user_id"]), line) for line in lines]
        status = raw.h2(stack.edge.port, "/", sent).status
        found += user in _header_readings(lines)
        assert status != 200 or user not in _header_readings(lines), (seed, sent)
    assert found > 80, (seed, found)


# --- cookies ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "a=1\tsid={}",
        "a=1 sid={}",
        "a=1, sid={}",
        'a="1" sid={}',
        'sid="{}',
        "sid={},x",
        "sid={} x",
        "sid={}\tx",
        'sid="\\{}"',
        "\u00a0sid={}",
    ],
)
def test_a_cookie_that_can_be_read_in_two_ways_is_refused(stack, user, line):
    stack.daemon.block(session=user)
    assert by_cookie(stack, line.format(user)) == 400


def test_an_escaped_cookie_is_refused(stack, user):
    stack.daemon.block(session=user)
    octal = "".join(f"\\{ord(letter):03o}" for letter in user)
    assert SimpleCookie(f'sid="{octal}"')["sid"].value == user, "so does Python read it"
    assert by_cookie(stack, f'sid="{octal}"') == 400


def test_a_cookie_counts_under_every_name_that_is_taken_for_its_own(stack, user):
    stack.daemon.block(session=user)
    for name in "SID", "Sid", "s%69d", "%53ID", "sid ":
        assert by_cookie(stack, f"{name}={user}") == 403, name
    for name in "xsid", "sid2", "s", "id":
        assert by_cookie(stack, f"{name}={user}") == 200, name


def test_a_cookie_counts_decoded_and_as_it_stands(stack, user):
    encoded = "".join(f"%{ord(letter):02x}" for letter in user)
    stack.daemon.block(session=user)
    assert by_cookie(stack, f"sid={encoded}") == 403
    signed = f"s%3A{user}.signature"
    assert by_cookie(stack, f"sid={signed}") == 200
    stack.daemon.block(session=signed)
    assert by_cookie(stack, f"sid={signed}") == 403, "as who does not decode names it"


def test_several_cookies_name_everybody(stack, user):
    """Browsers send one for each path that it was set for. Envoy joins the lines of HTTP/2."""
    stack.daemon.block(session=user)
    assert by_cookie(stack, f"sid=other; sid={user}") == 403
    assert by_cookie(stack, "sid=other", "a=1", f"sid={user}") == 403
    assert by_cookie(stack, "a=1", "sid=other", "sid=") == 200
    written = f"GET / HTTP/1.1\nHost: x\nCookie: sid=other\nCookie: sid={user}"
    assert raw.h1(stack.edge.port, written).status == 403


def test_odd_cookies_of_others_break_nobody(stack, user):
    odd = 'x="unclosed; _ga=a b,c; y=\\"\\151; prefs=sid=7&y; ref=/p?sid=7; z={"sid":1}; sid; =; %%'
    assert by_cookie(stack, f"{odd}; sid={user}") == 200
    assert by_cookie(stack, odd) == 200


def _django(line: str) -> Iterable[tuple[str, str]]:
    for chunk in line.split(";"):
        key, equals, value = chunk.partition("=")
        yield (key.strip(), value.strip()) if equals else ("", key.strip())


def _php(line: str) -> Iterable[tuple[str, str]]:
    for chunk in line.split(";"):
        key, _, value = chunk.partition("=")
        name = unquote_plus(key.lstrip(" \t")).partition("\0")[0].lstrip(" ")
        yield name, unquote_plus(value)


def _node(line: str) -> Iterable[tuple[str, str]]:
    for chunk in line.split(";"):
        key, _, value = chunk.partition("=")
        value = value.strip(" \t")
        yield key.strip(" \t"), unquote(value[1:-1] if value.startswith('"') else value)


def _asp_net(line: str) -> Iterable[tuple[str, str]]:
    for chunk in line.replace(",", ";").split(";"):
        key, _, value = chunk.partition("=")
        yield key.strip(" \t").lower(), unquote(value.strip(" \t").strip('"'))


def _python(line: str) -> Iterable[tuple[str, str]]:
    try:
        return [(key, morsel.value) for key, morsel in SimpleCookie(line).items()]
    except CookieError:
        return []


READERS = [_python, _django, _php, _node, _asp_net]
NOISE = ["=", ";", "; ", ", ", ",", " ", "\t", '"', '"', "\\", "\\163", "%73", "%3B", "x", "a=1"]
NOISE += ["a=1; ", "é", "[", ".", "%", "+", "$Path=/", "sid", "sid=s1", "s1"]
NAMES = ["sid"] * 6 + ["SID", "s%69d", " sid", "sid ", "xsid"]
VALUES = ["s1"] * 6 + ['"s1"', "%731", '"\\1631"', "s2", "s1 "]


def random_line(dice: random.Random) -> str:
    """One or two cookies of the name, with other things where separators and values are."""

    def noise(most: int) -> str:
        return "".join(dice.choices(NOISE, k=dice.randint(0, most)))

    cookies = [
        noise(2) + dice.choice(NAMES) + dice.choice(["=", "=", "=", " = ", noise(1)])
        + dice.choice(VALUES) + noise(2)
        for _ in range(dice.randint(1, 2))
    ]  # fmt: skip
    return dice.choice(["; ", ";", "", " "]).join(cookies)


def test_no_reader_finds_a_blocked_session_that_the_gate_does_not(stack, summary):
    """Random lines: what Python's own parser, or one like those of other upstreams, takes for the
    session is blocked or refused."""
    stack.daemon.block(session="s1")
    seed = random.randrange(1 << 32)
    dice, statuses, found = random.Random(seed), {200: 0, 400: 0, 403: 0}, 0
    connection = stack.edge.connect()
    for _ in range(3000):
        line = random_line(dice)
        seen = {value for reader in READERS for name, value in reader(line) if name == "sid"}
        status = connection.get("/", cookie=line).status
        statuses[status] += 1
        found += "s1" in seen
        assert status != 200 or "s1" not in seen, (seed, line, seen)
    connection.close()
    assert found > 100 and min(statuses.values()) > 100, (seed, found, statuses)
    summary(f"cookies: {found} of 3000 random lines had the blocked session, none passed")


# --- shadow -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shadow_stack():
    identity = {**IDENTITY, "shadow": True}
    with running(plugin.standard(identity=identity, limits=[plugin.PER_USER])) as started:
        yield started


@pytest.mark.parametrize("others", [4, 15])
def test_shadow_of_a_crowd_lets_no_blocked_user_pass(shadow_stack, user, others):
    stack = shadow_stack
    crowd = [("x-user-id", new_user()) for _ in range(others)]
    assert raw.h2(stack.edge.port, "/", [*crowd, ("x-user-id", user)]).status == 200
    stack.daemon.block(user)
    assert raw.h2(stack.edge.port, "/", [*crowd, ("x-user-id", user)]).status == 403
    assert raw.h2(stack.edge.port, "/", crowd).status == 200
    assert stack.edge.settled_metric("portcullis_would_deny_too_many_identities") > 0


def test_shadow_of_a_crowd_switches_off_no_limit(shadow_stack, user):
    stack = shadow_stack
    stack.daemon.override(user, name="per-user", **FIVE)
    crowd = [("x-user-id", new_user()) for _ in range(4)]
    lines = [*crowd, ("x-user-id", user)]
    statuses = [raw.h2(stack.edge.port, "/", lines).status for _ in range(7)]
    assert statuses == [200] * 5 + [429] * 2


def test_who_is_not_looked_at_does_not_pass_in_shadow(shadow_stack, user):
    stack = shadow_stack
    stack.daemon.block(user)
    crowd = [("x-user-id", new_user()) for _ in range(16)]
    assert raw.h2(stack.edge.port, "/", [*crowd, ("x-user-id", user)]).status == 400


def test_shadow_of_what_is_ambiguous_lets_no_blocked_user_pass(shadow_stack, user):
    stack = shadow_stack
    stack.daemon.block(user)
    stack.daemon.block(session=user)
    for value in f"{user},other", f"other, {user}":
        assert by_user(stack, value) == 403, value
    assert raw.h2(stack.edge.port, "/", [("x_user_id", user)]).status == 403
    assert by_cookie(stack, f"a=1, sid=x; sid={user}") == 403
    assert by_user(stack, f"{new_user()},x") == 200


# --- signatures ---------------------------------------------------------------------------------


def test_a_signature_has_one_spelling():
    """What upstreams trim, join or take for the same name is refused, and not normalized."""
    config = plugin.limits_only(integrations=[PAY], keys=[KEY])

    names = list(signing.portcullis("GET", "/pay"))

    def status(changed: str | None = None, value: str = "{}", renamed: str = "", more: Lines = ()):
        signed = signing.portcullis("GET", "/pay").items()
        lines = [
            (renamed or name, value.format(given)) if name == changed else (name, given)
            for name, given in signed
        ]
        return raw.h2(stack.edge.port, "/pay", [*lines, *more]).status

    with running(config, daemon=False) as stack:
        assert status() == 200
        for name in names:
            for value in "{} ", " {}", "{}\t", "{},", "{},x", "":
                assert status(name, value) == 401, (name, value)
            alias = name.replace("-", "_")
            assert status(name, renamed=alias) == 401, alias
            for more in alias, name:
                assert status(more=[(more, "x")]) == 401, more


# --- trailers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/pay", "/other"])
@pytest.mark.parametrize("body", [b"", b"a body"])
def test_nothing_that_says_who_it_is_comes_in_behind_the_body(path, body):
    """Servers that put trailers among the headers would take the forged ones for the gate's."""
    forged = ["x-portcullis-partner", "x-portcullis-key-id", "x_portcullis-partner", "x-user-id"]
    forged += ["x_user_id", "cookie", "x-partner-id", "x-api-key", "x_api_key"]
    config = plugin.limits_only(*LIMITS, identity=IDENTITY, integrations=[PAY], keys=[KEY])
    pseudo = [(":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", path)]
    lines = [*pseudo, *signing.portcullis("POST", path, body).items()]
    trailers = [("x-checksum", "1"), *((name, "evil") for name in forged), ("x-users-id", "2")]
    with running(config, daemon=False, upstream_trailers=True) as stack:
        answer = raw.h2_lines(stack.edge.port, lines, body, trailers)
        assert answer.status == 200
        echo = json.loads(answer.body)
        assert (echo["body"], echo["trailers"]) == (body.decode(), ["x-checksum: 1", "x-users-id: 2"])
        assert echo["headers"].get("x-portcullis-partner") == ("acme" if path == "/pay" else None)
