"""As much as Envoy lets through in headers: nothing crashes, time is bounded, and who is blocked stays so."""

import statistics
import time

import pytest

from harness import plugin, ports
from harness.client import Connection
from harness.events import new_user
from harness.stack import running

# Envoy's defaults: 60 KiB, and 100 lines.
BYTES = 55_000
LINES = 90
ROUNDS = 30
# By how much a gate may delay such a request: far above what is seen, and far below what would be
# quadratic.
SLOWER_MS_MAX = 50

SOURCES = {"user": [{"header": "x-user-id"}, {"cookie": "sid"}], "missing_user": "allow"}


@pytest.fixture(scope="module")
def stack():
    roomy = {**plugin.PER_USER, "max_tokens": 1_000_000}
    by_header = {**roomy, "name": "by-header", "key": {"header": "x-thing"}}
    config = plugin.standard(identity=SOURCES, limits=[roomy, by_header])
    with running(config, plain_port=ports.free()) as started:
        yield started


@pytest.fixture(scope="module")
def blocked(stack):
    user = new_user()
    stack.daemon.block(user)
    return user


def filler(lines: int, size: int) -> list[tuple[str, str]]:
    return [(f"x-filler-{number}", "v" * size) for number in range(lines)]


def cookies(pairs: list[str]) -> list[tuple[str, str]]:
    return [("cookie", "; ".join(pairs))]


def numbered(count: int) -> list[str]:
    return [f"c{number}={number}" for number in range(count)]


# What is sent beside the user, who stands where the case says, and what a blocked one gets; 0: Envoy
# itself may refuse it as it likes.
CASES = {
    "many lines": (lambda user: [*filler(LINES, BYTES // LINES - 20), ("x-user-id", user)], 403),
    "one long line": (lambda user: [("x-filler", "v" * BYTES), ("x-user-id", user)], 403),
    "many cookies": (lambda user: cookies([*numbered(5_000)[: BYTES // 14], f"sid={user}"]), 403),
    "one cookie again and again": (lambda user: cookies([f"sid={user}"] * (BYTES // (len(user) + 6))), 403),
    "cookies that are almost ones": (lambda user: cookies(["sid" * 9, '="'] * 1_500 + [f"sid={user}"]), 0),
    "percent signs": (lambda user: cookies(["sid=" + "%41" * 15_000]), 0),
    "quotes": (lambda user: cookies(['sid="' + '\\"' * 20_000]), 0),
    "many users in a cookie": (lambda user: cookies([f"sid=u{number}" for number in range(5_000)]), 400),
    "many users in lines": (lambda user: [("x-user-id", f"u{number}") for number in range(LINES)], 400),
    "many things": (lambda user: [("x-thing", f"t{number}") for number in range(LINES)], 0),
    "a long id": (lambda user: [("x-user-id", "u" * BYTES)], 0),
    "a long id of commas": (lambda user: [("x-user-id", "," * BYTES)], 400),
    "a long thing": (lambda user: [("x-thing", "t" * BYTES), ("x-user-id", user)], 403),
    "more than Envoy takes": (lambda user: [*filler(LINES, 2_000), ("x-user-id", user)], 431),
}


def ask(connection, lines: list[tuple[str, str]]) -> tuple[int, float]:
    """Status, and milliseconds."""
    http = connection._http
    started = time.perf_counter()
    try:
        http.putrequest("GET", "/")
        for name, value in lines:
            http.putheader(name, value)
        http.endheaders()
        answer = http.getresponse()
        answer.read()
    except OSError:
        # Envoy hangs up on what it refuses, perhaps before all of it is sent.
        http.close()
        return 0, (time.perf_counter() - started) * 1000
    if answer.status == 431:
        http.close()
    return answer.status, (time.perf_counter() - started) * 1000


@pytest.mark.parametrize("case", CASES)
def test_large_headers(stack, blocked, case, summary):
    make, expected = CASES[case]
    lines = make(blocked)
    with Connection(stack.edge.port) as gate, Connection(stack.edge.options.plain_port) as plain:
        through = [ask(gate, lines) for _ in range(ROUNDS)]
        beside = [ask(plain, lines) for _ in range(ROUNDS)]
    statuses = {status for status, _ in through}
    slower = statistics.median(ms for _, ms in through) - statistics.median(ms for _, ms in beside)
    longest = max(ms for _, ms in through)
    summary(f"{case}: {statuses}, {slower:+.2f} ms by the gate, {longest:.1f} ms at most")
    assert len(statuses) == 1 and statuses <= ({expected} if expected else {200, 400, 401, 403, 431})
    assert slower < SLOWER_MS_MAX
    assert stack.edge.process.alive()
    assert stack.edge.get("/", blocked).status == 403 and stack.edge.get("/", new_user()).status == 200
