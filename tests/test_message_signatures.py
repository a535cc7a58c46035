"""HTTP Message Signatures (RFC 9421): what another implementation signs passes, and what it asks for is understood."""

import base64
import hashlib
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import http_sf
import pytest
from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver, algorithms

from harness import plugin
from harness.stack import running

BODY = b'{"amount": 100, "currency": "EUR"}'
SECRET = b"a-partner-secret-that-signs-messages"
DECODED = b"bytes-that-are-agreed-on-in-base64"
KEYS = {"m1": SECRET, "m2": DECODED}
COVERED = ("@method", "@authority", "@path", "@query", "content-digest")


def integration(name: str, **signature) -> dict:
    signature = {"profile": "rfc9421", **signature}
    return {"name": name, "match": [{"path": {"prefix": f"/{name}"}}], "signature": signature}


def config() -> dict:
    integrations = [
        integration("messages"),
        integration("tagged", tag="us", nonce="required"),
        integration("typed", components=["@method", "@target-uri", "content-type"]),
    ]
    base64_secret = base64.b64encode(DECODED).decode()
    keys = [
        {"id": "m1", "partner": "acme", "profile": "rfc9421", "secret": SECRET.decode()},
        {
            "id": "m2",
            "partner": "acme",
            "profile": "rfc9421",
            "secret": base64_secret,
            "secret_encoding": "base64",
        },
    ]
    return plugin.limits_only(integrations=integrations, keys=keys)


@pytest.fixture(scope="module")
def stack():
    with running(config(), daemon=False) as started:
        yield started


class Keys(HTTPSignatureKeyResolver):
    def resolve_private_key(self, key_id):
        return KEYS[key_id]

    def resolve_public_key(self, key_id):
        return KEYS[key_id]


@dataclass
class Message:
    """A request as the library wants it, which it adds its headers to."""

    url: str
    body: bytes = BODY
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)

    def sign(self, key_id: str = "m1", **options) -> "Message":
        options = {"covered_component_ids": COVERED, "nonce": uuid.uuid4().hex, **options}
        signer = HTTPMessageSigner(signature_algorithm=algorithms.HMAC_SHA256, key_resolver=Keys())
        digest = hashlib.sha256(self.body).digest()
        if self.body:
            self.headers.setdefault("Content-Digest", http_sf.ser({"sha-256": digest}))
            options["use_existing_digest"] = True
        signer.sign(self, key_id=key_id, **options)
        return self


def message(stack, path: str, **options) -> Message:
    return Message(f"http://127.0.0.1:{stack.edge.port}{path}", **options)


def send(stack, signed: Message, **changed):
    parts = {"method": signed.method, "body": signed.body, "url": signed.url, **changed}
    path = "/" + parts["url"].split("/", 3)[3]
    named = {name.lower().replace("-", "_"): value for name, value in signed.headers.items()}
    return stack.edge.request(parts["method"], path, parts["body"] or None, **named)


@pytest.mark.parametrize("key_id", KEYS)
@pytest.mark.parametrize(
    "covered",
    [
        COVERED,
        COVERED[::-1],
        ("@method", "@target-uri", "content-digest"),
        ("@method", "@authority", "@request-target", "content-digest", "@scheme"),
        (*COVERED, "date", "content-type", "x-odd"),
    ],
    ids=" ".join,
)
def test_what_the_library_signs_passes(stack, covered, key_id):
    headers = {
        "Date": "Tue, 20 Apr 2021 02:07:55 GMT",
        "Content-Type": "application/json",
        "X-Odd": ' "a", b;c  d ',
    }
    sent = message(stack, "/messages/a?b=c%20d&e", headers=headers)
    answer = send(stack, sent.sign(key_id, covered_component_ids=covered))
    assert answer.status == 200, answer.body
    echo = answer.json()
    assert echo["body"] == BODY.decode()
    assert echo["headers"]["x-portcullis-key-id"] == key_id


def test_requests_without_a_body_or_a_query(stack):
    sent = message(stack, "/messages/a", body=b"", method="GET")
    assert send(stack, sent.sign(covered_component_ids=("@method", "@authority", "@path"))).status == 200
    sent = message(stack, "/messages/a", body=b"", method="GET")
    assert (
        send(stack, sent.sign(covered_component_ids=("@method", "@authority", "@path", "@query"))).status
        == 200
    )


def test_what_is_changed_does_not_pass(stack):
    before = stack.upstream.total()
    sent = message(stack, "/messages/a?b=1").sign()
    for changed in [
        {"method": "PUT"},
        {"body": BODY + b" "},
        {"body": b""},
        {"url": sent.url.replace("b=1", "b=2")},
        {"url": sent.url.replace("/a?", "/b?")},
    ]:
        assert send(stack, sent, **changed).status == 401, changed
    for name in ["Content-Digest", "Signature", "Signature-Input"]:
        at = sent.headers[name].index("=") + 3
        other = "A" if sent.headers[name][at] != "A" else "B"
        value = sent.headers[name][:at] + other + sent.headers[name][at + 1 :]
        headers = {**sent.headers, name: value}
        assert send(stack, Message(sent.url, headers=headers)).status == 401, name
    unsigned_digest = message(stack, "/messages/a").sign(covered_component_ids=COVERED[:4])
    assert send(stack, unsigned_digest).status == 401
    assert stack.upstream.total() == before
    assert send(stack, sent).status == 200
    assert send(stack, sent).status == 409


def test_the_time_of_signing_and_of_expiry(stack):
    now = datetime.now(UTC)

    def status(**options):
        return send(stack, message(stack, "/messages/a").sign(**options)).status

    assert status(created=now - timedelta(seconds=290)) == 200
    assert status(created=now - timedelta(seconds=310)) == 401
    assert status(created=now + timedelta(seconds=310)) == 401
    assert status(created=now - timedelta(seconds=20), expires=now + timedelta(seconds=60)) == 200
    assert status(created=now - timedelta(seconds=20), expires=now - timedelta(seconds=10)) == 401


def test_one_of_several_signatures_is_for_us(stack):
    sent = message(stack, "/tagged/a").sign(tag="them", label="other")
    sent.sign("m2", tag="us", label="ours", append_if_signature_exists=True)
    answer = send(stack, sent)
    assert answer.status == 200, answer.body
    assert answer.json()["headers"]["x-portcullis-key-id"] == "m2"
    assert send(stack, message(stack, "/tagged/a").sign(tag="them")).status == 401
    assert send(stack, message(stack, "/tagged/a").sign(tag="us", nonce=None)).status == 401


def test_refusals_say_what_is_accepted(stack):
    for path, components, tag in [
        ("/messages/a", list(COVERED), None),
        ("/tagged/a", list(COVERED), "us"),
        ("/typed/a", ["@method", "@target-uri", "content-type"], None),
    ]:
        answer = send(stack, message(stack, path))
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == 'HMAC-SHA256 profile="rfc9421"'
        ((items, parameters),) = http_sf.parse(
            answer.headers["accept-signature"].encode(), tltype="dictionary"
        ).values()
        assert [name for name, _ in items] == components
        assert parameters == {"created": True, "alg": "hmac-sha256"} | ({"tag": tag} if tag else {})
        # Who does as the answer says is let in; a body is covered in any case.
        headers = {"Content-Type": "application/json"}
        covered = dict.fromkeys([*components, "content-digest"])
        again = message(stack, path, headers=headers).sign(covered_component_ids=tuple(covered), tag=tag)
        assert send(stack, again).status == 200
