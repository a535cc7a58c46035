"""Identity from a claim that Envoy's own jwt_authn has verified."""

import json
import random
import struct
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from harness import plugin
from harness.events import new_user
from harness.stack import running

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
pytestmark = pytest.mark.one_host(
    "wasm",
    reason="Envoy hands dynamic modules no metadata within metadata; claims come by headers, as in test_examples.py",
)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def jwt_authn() -> dict:
    """Verifies a token if there is one; its payload goes to the metadata as `jwt_payload`."""
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key()))
    provider = {
        "issuer": "tests",
        "local_jwks": {"inline_string": json.dumps({"keys": [{**public, "alg": "RS256"}]})},
        "payload_in_metadata": "jwt_payload",
        "forward": True,
    }
    either = [{"provider_name": "tests"}, {"allow_missing": {}}]
    return {
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {"tests": provider},
            "rules": [{"match": {"prefix": "/"}, "requires": {"requires_any": {"requirements": either}}}],
        },
    }


def token(key=KEY, **claims) -> str:
    claims = {"iss": "tests", "exp": int(time.time()) + 600, **claims}
    return "Bearer " + jwt.encode(claims, key, algorithm="RS256")


@pytest.fixture(scope="module")
def stack():
    claim = {"payload": "jwt_payload", "claim": "sub"}
    session = {"payload": "jwt_payload", "claim": "sid"}
    identity = {
        "user": [{"jwt_claim": claim}, {"header": "x-user-id"}],
        "session": [{"jwt_claim": session}],
        "missing_user": "deny",
    }
    with running(plugin.standard(identity=identity), filters_before=[jwt_authn()]) as started:
        yield started


def test_block_of_the_verified_subject(stack, user):
    authorization = token(sub=user)
    assert stack.edge.get("/", authorization=authorization).status == 200
    stack.daemon.block(user)
    assert stack.edge.get("/", authorization=authorization).status == 403
    assert stack.edge.get("/", authorization=token(sub=new_user())).status == 200


def test_spoofed_header_loses_against_the_claim(stack, user):
    stack.daemon.block(user)
    innocent = new_user()
    assert stack.edge.get("/", innocent, authorization=token(sub=user)).status == 403
    assert stack.edge.get("/", user, authorization=token(sub=innocent)).status == 200


def test_without_a_token_the_next_source_is_asked(stack, user):
    stack.daemon.block(user)
    assert stack.edge.get("/", user).status == 403
    assert stack.edge.get("/", new_user()).status == 200
    assert stack.edge.get("/").status == 401


def test_forged_token_never_reaches_the_gate(stack, user):
    forged = token(key=OTHER_KEY, sub=user)
    rejected = stack.edge.get("/", user, authorization=forged)
    assert rejected.status == 401
    assert b"Jwt" in rejected.body, "the rejection is Envoy's own"
    assert stack.upstream.seen[user] == 0


def test_session_from_a_claim(stack, user):
    session = f"s-{user}"
    stack.daemon.block(session=session)
    assert stack.edge.get("/", authorization=token(sub=user, sid=session)).status == 403
    assert stack.edge.get("/", authorization=token(sub=user, sid="other")).status == 200


def test_a_token_without_the_claim_is_no_identity(stack):
    assert stack.edge.get("/", authorization=token(sid="s")).status == 401


# --- claims of every type -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def by_uid():
    """Envoy itself wants text in `sub`, and in other claims anything."""
    identity = {
        "user": [
            {"jwt_claim": {"payload": "jwt_payload", "claim": "uid"}},
            {"header": "x-user-id"},
        ],
        "session": [{"jwt_claim": {"payload": "jwt_payload", "claim": "sid"}}],
        "missing_user": "deny",
    }
    with running(plugin.standard(identity=identity), filters_before=[jwt_authn()]) as started:
        yield started


def status(stack, user: str | None = None, **claims) -> int:
    """What the gate answers; Envoy must have taken the token."""
    answer = stack.edge.get("/", user, authorization=token(**claims))
    assert answer.status == 200 or answer.problem == "about:blank", answer.body
    return answer.status


def numbers_that_look_like_text(count: int) -> list[tuple[int, str]]:
    """Numbers of 16 digits whose double, as Envoy hands it over, is text: about 1 in 170."""
    dice, found = random.Random(9), []
    while len(found) < count:
        number = dice.randrange(10**15, 2**53)
        try:
            text = struct.pack("<d", number).decode()
        except UnicodeDecodeError:
            continue
        if text.isprintable():
            found.append((number, text))
    return found


def test_a_number_is_one_also_if_its_bytes_are_text(by_uid):
    for number, text in numbers_that_look_like_text(12):
        assert status(by_uid, uid=number) == 200, number
        by_uid.daemon.block(str(number))
        assert status(by_uid, uid=number) == 403, number
        assert status(by_uid, uid=str(number)) == 403, number
        # The text of the same bytes is somebody else.
        assert status(by_uid, uid=text) == 200, text
        by_uid.daemon.block(text)
        assert status(by_uid, uid=text) == 403, text


def test_any_whole_number_is_an_id(by_uid):
    dice = random.Random(7)
    for number in 0, 7, -7, 42, 2**53 - 1, *(dice.randrange(2**53) for _ in range(20)):
        assert status(by_uid, uid=number) == 200, number
        by_uid.daemon.block(str(number))
        assert status(by_uid, uid=number) == 403, number


def test_texts_of_eight_bytes_are_texts(by_uid):
    for text in "12345678", "abcdefgh", "ABCDEFGC", "zoë-1234"[:7], "@@@@@@@@", "a b c d!":
        assert status(by_uid, uid=text) == 200, text
        by_uid.daemon.block(text)
        assert status(by_uid, uid=text) == 403, text


UNUSABLE = {
    "2^53": 2**53,
    "a number of 18 digits": 412345678901234567,
    "a negative one": -(2**60),
    "a fraction": 1.5,
    "a tiny fraction": 1e-57,
    "a huge number": 1e40,
    "true": True,
    "false": False,
    "null": None,
    "a list": ["alice"],
    "an empty list": [],
    "an object": {"id": "alice"},
    "an empty object": {},
    "empty": "",
    "blank": " \t ",
    "a control character": "ali\nce",
    "eight bytes with zeros": "\0\0\0\0\0\0E@",
    "a zero byte": "alice\0",
    "other white space around": "alice\u2003",
}


@pytest.mark.parametrize("claim", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_an_unusable_claim_is_an_error_and_no_absence(by_uid, user, claim):
    """Before, the next and weaker source was asked, which the client chooses."""
    assert status(by_uid, user, uid=claim) == 401
    assert status(by_uid, uid=claim) == 401
    assert by_uid.upstream.seen[user] == 0
    assert status(by_uid, user, uid="somebody", sid=claim) == 401, "the session's, too"


def test_blanks_around_a_claim_are_no_part_of_it(by_uid, user):
    by_uid.daemon.block(user)
    for claim in f"{user} ", f" {user}", f"\t{user}\t":
        assert status(by_uid, uid=claim) == 403, claim


def test_a_claim_may_have_a_comma_and_looks_like_nobody_else(by_uid, user):
    by_uid.daemon.block(user)
    # The last is a Cyrillic letter: another user, whatever it looks like.
    for claim in f"{user},x", user.upper(), user.replace("e", "\u0435"):
        assert status(by_uid, uid=claim) == 200, claim
        by_uid.daemon.block(claim)
        assert status(by_uid, uid=claim) == 403, claim


def test_unusable_claims_can_be_ignored(user):
    claim = {"payload": "jwt_payload", "claim": "uid"}
    identity = {
        "user": [{"jwt_claim": claim}, {"header": "x-user-id"}],
        "missing_user": "deny",
        "unusable_claim": "ignore",
    }
    with running(plugin.standard(identity=identity), filters_before=[jwt_authn()]) as stack:
        assert status(stack, user, uid=2**60) == 200
        assert status(stack, uid=2**60) == 401
        stack.daemon.block(user)
        assert status(stack, user, uid=None) == 403
