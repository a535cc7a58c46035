"""Identity from a claim that Envoy's own jwt_authn has verified."""

import json
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from harness import plugin
from harness.events import new_user
from harness.stack import running

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
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
            "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3"
            ".JwtAuthentication",
            "providers": {"tests": provider},
            "rules": [
                {"match": {"prefix": "/"}, "requires": {"requires_any": {"requirements": either}}}
            ],
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
    assert stack.edge.get("/", authorization=token(sub="")).status == 401
