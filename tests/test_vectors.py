"""The published test vectors, through the real Envoy.

The vectors have times, and Envoy's clock is the real one: so the same vectors are made anew for now.
The crate `signing` tests the published file itself, to the second; here, what is a second from a bound is left
out.
"""

import base64
import http.client
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from harness import plugin
from harness.artifacts import REPOSITORY
from harness.stack import running

GENERATOR = REPOSITORY / "tests/make_vectors.py"
PUBLISHED = json.loads((REPOSITORY / "docs/vectors/signatures.json").read_text())
AT_A_BOUND = {-300, -60, 60, 300}


def vectors_at(now: int) -> dict:
    environment = {**os.environ, "PORTCULLIS_VECTORS_NOW": str(now)}
    argv = [sys.executable, str(GENERATOR), "--print"]
    made = subprocess.run(argv, env=environment, capture_output=True, check=True)
    return json.loads(made.stdout)


def rules(vector: dict) -> tuple:
    """What the plugin has to be configured with; vectors of the same rules share an Envoy."""
    return (
        vector["integration"],
        vector["profile"],
        vector.get("tolerance_s", 300),
        vector.get("partner"),
        vector.get("nonce_required", False),
    )


def config(vector: dict, keys: list[dict]) -> dict:
    name, profile, tolerance_s, partner, nonce_required = rules(vector)
    signature = {"profile": profile}
    if profile != "github":  # it has no time
        signature["tolerance"] = f"{tolerance_s}s"
    if partner:
        signature["partner"] = partner
    if nonce_required:
        signature["nonce"] = "required"
    # More than two are published for some, and ours beside them.
    tried = {} if profile in ["portcullis", "body", "rfc9421"] else {"keys_max": 16}
    signature |= tried
    one = {"name": name, "match": [{"path": {"prefix": "/"}}], "signature": signature}
    # Scopes of keys may name only integrations that exist: these are never reached.
    named = {scope for key in keys for scope in key["integrations"]} - {name}
    # A key is for one profile: so is every integration of the keys that are for ours.
    ours = {scope for key in keys if name in key["integrations"] for scope in key["integrations"]}
    wanted = {scope: profile if scope in ours else "body" for scope in sorted(named)}
    others = [
        {**one, "name": scope, "signature": {"profile": p, **(tried if p == profile else {})}}
        for scope, p in wanted.items()
    ]
    # And an integration without any key would be refused at start.
    secret = "of-nobody-who-signs-vectors"
    nobody = {"id": "nobody", "partner": "nobody", "integrations": [name], "secret": secret}
    keys = [nobody, *(key_for(key) for key in keys)]
    return plugin.limits_only(integrations=[one, *others], keys=keys)


def key_for(key: dict) -> dict:
    bounds = {name: key[name] for name in ("not_before", "not_after") if name in key}
    shown = {name: datetime.fromtimestamp(at, UTC).isoformat() for name, at in bounds.items()}
    return {**key, **shown}


def send(edge, request: dict) -> int:
    body = base64.b64decode(request["body_base64"]) if "body_base64" in request else None
    body = request.get("body", "").encode() if body is None else body
    connection = http.client.HTTPConnection("127.0.0.1", edge.port, timeout=10)
    has_host = any(name == "host" for name, _ in request["headers"])
    connection.putrequest(request["method"], request["path"], skip_host=has_host)
    for name, value in request["headers"]:
        connection.putheader(name, value)
    connection.putheader("content-length", str(len(body)))
    connection.endheaders(body)
    try:
        return connection.getresponse().status
    finally:
        connection.close()


def test_the_published_file_is_what_the_generator_makes():
    assert vectors_at(1_800_000_000) == PUBLISHED


@pytest.mark.parametrize("wanted", sorted({rules(vector) for vector in PUBLISHED["vectors"]}, key=str))
def test_published_vectors(wanted):
    ours = [v for v in PUBLISHED["vectors"] if rules(v) == wanted]
    with running(config(ours[0], vectors_at(int(time.time()))["keys"]), daemon=False) as stack:
        for vector in ours:
            offset = vector["now"] - 1_800_000_000
            if offset in AT_A_BOUND:
                continue
            made = vectors_at(int(time.time()) - offset)["vectors"]
            (anew,) = [v for v in made if v["name"] == vector["name"]]
            status = send(stack.edge, anew["request"])
            # Vectors that sign the same bytes use each other up: verified, and then a replay.
            expected = {200, 409} if vector["expected"]["result"] == "verified" else {401}
            assert status in expected, vector["name"]
