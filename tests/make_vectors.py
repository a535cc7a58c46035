"""Writes docs/vectors/signatures.json: what is to be accepted and refused, and why.

    python tests/make_vectors.py [--check | --print]

It signs with Python's own hmac and hashlib, and shares no code with Portcullis: the vectors are a
second opinion. With --check it only says whether the file is up to date, with --print it prints.
"""

import base64
import hashlib
import hmac
import json
import os
import pathlib
import sys

FILE = pathlib.Path(__file__).parent.parent / "docs" / "vectors" / "signatures.json"

# Another time makes the same vectors anew, for a server whose clock is the real one.
NOW = int(os.environ.get("PORTCULLIS_VECTORS_NOW", "1800000000"))

SECRETS = {
    "acme-1": "acme's first secret, 2026",
    "acme-2": "acme's second secret, 2026",
    "globex-1": "globex keeps this to itself",
    "hooks-1": "whsec_" + base64.b64encode(bytes(range(24))).decode(),
    "hooks-2": "whsec_" + base64.b64encode(bytes(range(100, 132))).decode().rstrip("="),
    "stripe-1": "whsec_not+base64, and not to be decoded",
    "stripe-2": "whsec_another+one, while keys are replaced",
    "octo-1": "It's a Secret to Everybody",
    "message-1": "signs messages as RFC 9421 has it",
    "message-2": "whsec_" + base64.b64encode(bytes(range(200, 232))).decode(),
    "old-1": "was valid until a minute ago",
    "new-1": "will be valid in a minute",
    "scoped-1": "is for refunds and nothing else",
}

KEYS = [
    {"id": "acme-1", "partner": "acme", "integrations": ["payments"]},
    {"id": "acme-2", "partner": "acme", "integrations": ["payments"]},
    {"id": "globex-1", "partner": "globex", "integrations": ["payments"]},
    {"id": "hooks-1", "partner": "acme", "integrations": ["hooks"]},
    {"id": "hooks-2", "partner": "acme", "integrations": ["hooks"]},
    {"id": "stripe-1", "partner": "stripe", "integrations": ["stripe"]},
    {"id": "stripe-2", "partner": "stripe", "integrations": ["stripe"]},
    {"id": "octo-1", "partner": "github", "integrations": ["octo"]},
    {"id": "message-1", "partner": "acme", "integrations": ["messages"]},
    {"id": "message-2", "partner": "acme", "integrations": ["messages"]},
    {"id": "old-1", "partner": "acme", "integrations": ["payments", "expired"], "not_after": NOW - 60},
    {"id": "new-1", "partner": "acme", "integrations": ["payments"], "not_before": NOW + 60},
    {"id": "scoped-1", "partner": "acme", "integrations": ["refunds"]},
]

INTEGRATIONS = {
    "portcullis": "payments",
    "body": "payments",
    "standard-webhooks": "hooks",
    "stripe": "stripe",
    "github": "octo",
    "rfc9421": "messages",
}

HOST = "api.example"

BODY = '{"amount":100,"currency":"EUR"}'
NONCE = "0192e4a0-7c1e-7000-8000-000000000001"


def mac(key_id, content, decoded=False):
    secret = SECRETS[key_id].encode()
    if decoded:
        text = secret.removeprefix(b"whsec_")
        secret = base64.b64decode(text + b"=" * (-len(text) % 4))
    return hmac.new(secret, content, hashlib.sha256)


def text_of(body):
    return body if isinstance(body, bytes) else body.encode()


def portcullis(key_id="acme-1", at=NOW, nonce=NONCE, method="POST", path="/pay?id=1", body=BODY):
    digest = hashlib.sha256(text_of(body)).hexdigest()
    content = f"v1\n{at}\n{key_id}\n{nonce}\n{method}\n{path}\n{digest}"
    return mac(key_id, content.encode()).hexdigest()


def own(signature, key_id="acme-1", at=NOW, nonce=NONCE):
    headers = [["x-key-id", key_id], ["x-timestamp", str(at)], ["x-signature", signature]]
    return headers + ([["x-request-id", nonce]] if nonce else [])


def signed(key_id="acme-1", at=NOW, nonce=NONCE, **request):
    return own("v1=" + portcullis(key_id, at, nonce, **request), key_id, at, nonce)


def body_only(key_id="acme-1", at=NOW, body=BODY, prefix=""):
    return own(prefix + mac(key_id, text_of(body)).hexdigest(), key_id, at, None)


def webhook_mac(key_id="hooks-1", at=NOW, nonce="msg_1", body=BODY):
    content = f"{nonce}.{at}.".encode() + text_of(body)
    return base64.b64encode(mac(key_id, content, decoded=True).digest()).decode()


def webhook(signatures, at=NOW, nonce="msg_1"):
    return [["webhook-id", nonce], ["webhook-timestamp", str(at)], ["webhook-signature", signatures]]


def stripe_mac(key_id="stripe-1", at=NOW, body=BODY):
    return mac(key_id, f"{at}.".encode() + text_of(body)).hexdigest()


def stripe(signatures, at=NOW):
    return [["stripe-signature", f"t={at},{signatures}"]]


def github(body=BODY, delivery="72d3162e-cc78-11e3-81ab-4c9367dc0958"):
    return [
        ["x-github-delivery", delivery],
        ["x-hub-signature-256", "sha256=" + mac("octo-1", text_of(body)).hexdigest()],
    ]


def content_digest(body=BODY):
    return "sha-256=:" + base64.b64encode(hashlib.sha256(text_of(body)).digest()).decode() + ":"


def message(
    key_id="message-1",
    at=NOW,
    more=f';nonce="{NONCE}"',
    covered=("@method", "@authority", "@path", "@query", "content-digest"),
    label="sig1",
    signer=None,
    **values,
):
    """The headers of a signature as RFC 9421 has it; `values` is what is signed in the place of what is sent."""
    lines = {
        "@method": "POST",
        "@authority": HOST,
        "@path": "/pay",
        "@query": "?id=1",
        "@request-target": "/pay?id=1",
        "content-digest": content_digest(),
    } | {name.replace("_", "-").replace("at-", "@"): value for name, value in values.items()}
    parameters = "(" + " ".join(f'"{name}"' for name in covered) + f');created={at};keyid="{key_id}"{more}'
    base = "".join(f'"{name}": {lines[name]}\n' for name in covered) + f'"@signature-params": {parameters}'
    signer = signer or key_id
    right = base64.b64encode(mac(signer, base.encode(), decoded=signer == "message-2").digest()).decode()
    return [
        ["host", HOST],
        ["content-digest", lines["content-digest"]],
        ["signature-input", f"{label}={parameters}"],
        ["signature", f"{label}=:{right}:"],
    ]


def both(first, second):
    """One request with two signatures."""
    joined = [[name, f"{value}, {dict(second)[name]}"] for name, value in first[2:]]
    return first[:2] + joined


def without(headers, name):
    return [line for line in headers if line[0] != name]


def replaced(headers, name, value):
    return [[known, value if known == name else old] for known, old in headers]


VECTORS = []


def vector(
    name,
    profile,
    headers,
    expected,
    *,
    key=None,
    body=BODY,
    method="POST",
    path="/pay?id=1",
    now=NOW,
    integration=None,
    **rule,
):
    """One request and what must come of it. `key` is whose signature is found."""
    binary = isinstance(body, bytes)
    sent = {"body_base64": base64.b64encode(body).decode()} if binary else {"body": body}
    result = {"result": expected} | ({"key_id": key} if key else {})
    VECTORS.append(
        {
            "name": name,
            "profile": profile,
            "integration": integration or INTEGRATIONS[profile],
            "now": now,
            **rule,
            "request": {"method": method, "path": path, "headers": headers, **sent},
            "expected": result,
        }
    )


def portcullis_vectors():
    def case(name, headers, expected, **more):
        vector(name, "portcullis", headers, expected, **more)

    good = signed()
    case("as documented", good, "verified", key="acme-1")
    case("an empty body", signed(body=""), "verified", key="acme-1", body="")
    case(
        "a body that is no text",
        signed(body=bytes(range(256))),
        "verified",
        key="acme-1",
        body=bytes(range(256)),
    )
    case("without a nonce", signed(nonce=""), "verified", key="acme-1")
    case(
        "without a nonce, and a proxy has added one",
        [*signed(nonce=""), ["x-request-id", "made-by-a-proxy"]],
        "verified",
        key="acme-1",
    )
    case("without a nonce where one is required", signed(nonce=""), "missing", nonce_required=True)
    case(
        "with another nonce added where one is required",
        [*signed(nonce=""), ["x-request-id", "made-by-a-proxy"]],
        "mismatch",
        nonce_required=True,
    )
    case(
        "two signatures, and the second is right",
        own(f"v1={portcullis('acme-2')},v1={portcullis()}"),
        "verified",
        key="acme-1",
    )
    case("the key of the same partner that comes next", signed("acme-2"), "verified", key="acme-2")
    case("where only acme may sign", good, "verified", key="acme-1", partner="acme")
    case("another partner where only acme may sign", signed("globex-1"), "out_of_scope", partner="acme")
    case("a key for another integration", signed("scoped-1"), "out_of_scope")
    case("a key that is not valid any more", signed("old-1"), "expired_key")
    case("a key at its last moment", signed("old-1"), "verified", key="old-1", now=NOW - 60)
    case("a key that is not valid yet", signed("new-1"), "expired_key")
    case("a key at its first moment", signed("new-1"), "verified", key="new-1", now=NOW + 60)
    case("an unknown key", replaced(good, "x-key-id", "acme-3"), "unknown_key")
    case("another known key", replaced(good, "x-key-id", "acme-2"), "mismatch")
    case("at the end of the tolerance", good, "verified", key="acme-1", now=NOW + 300)
    case("after the tolerance", good, "stale", now=NOW + 301)
    case("at the beginning of the tolerance", good, "verified", key="acme-1", now=NOW - 300)
    case("before the tolerance", good, "future", now=NOW - 301)
    case("a smaller tolerance", good, "stale", now=NOW + 11, tolerance_s=10)
    case("another method", good, "mismatch", method="PUT")
    case("another path", good, "mismatch", path="/pay")
    case("another query", good, "mismatch", path="/pay?id=2")
    case("another body", good, "mismatch", body=BODY + " ")
    case("another time", replaced(good, "x-timestamp", str(NOW - 1)), "mismatch")
    case("another nonce", replaced(good, "x-request-id", "another"), "mismatch")
    case("unsigned", [], "missing")
    for header in ["x-signature", "x-timestamp", "x-key-id"]:
        case(f"without {header}", without(good, header), "missing")
        case(f"{header} twice", good + [line for line in good if line[0] == header], "malformed")
    case("a nonce with a comma", signed(nonce="a,b"), "malformed")
    digits = portcullis()
    for name, wrong in [
        ("without a version", digits),
        ("another version", "v2=" + digits),
        ("in upper case", "v1=" + digits.upper()),
        ("a digit short", "v1=" + digits[:-1]),
        ("a digit too long", "v1=" + digits + "0"),
        ("with a space", "v1=" + digits + ", v1=0"),
        ("empty", "v1="),
        ("five of them", ",".join(["v1=" + digits] * 5)),
    ]:
        case(f"a signature {name}", own(wrong), "malformed")
    for name, wrong in [
        ("with a sign", f"+{NOW}"),
        ("with a zero in front", f"0{NOW}"),
        ("in milliseconds", f"{NOW}000"),
        ("with a fraction", f"{NOW}.0"),
        ("in hexadecimal", hex(NOW)),
    ]:
        case(f"a time {name}", replaced(good, "x-timestamp", wrong), "malformed")


def body_vectors():
    good = body_only()
    vector("body: as documented", "body", good, "verified", key="acme-1")
    vector("body: with a prefix", "body", body_only(prefix="sha256="), "verified", key="acme-1")
    vector("body: an empty body", "body", body_only(body=""), "verified", key="acme-1", body="")
    vector("body: another path is not noticed", "body", good, "verified", key="acme-1", path="/refund")
    vector(
        "body: another time is not noticed",
        "body",
        replaced(good, "x-timestamp", str(NOW + 5)),
        "verified",
        key="acme-1",
    )
    vector("body: another body", "body", good, "mismatch", body=BODY + "\n")
    vector("body: too old", "body", good, "stale", now=NOW + 301)
    vector("body: without a time", "body", without(good, "x-timestamp"), "missing")
    vector("body: another prefix", "body", body_only(prefix="sha1="), "malformed")


def standard_webhooks_vectors():
    def case(name, headers, expected, **more):
        vector(f"standard-webhooks: {name}", "standard-webhooks", headers, expected, **more)

    right = "v1," + webhook_mac()
    good = webhook(right)
    case("as documented", good, "verified", key="hooks-1")
    case("a secret without padding", webhook("v1," + webhook_mac("hooks-2")), "verified", key="hooks-2")
    case("two signatures", webhook(f"v1,{webhook_mac('hooks-2', at=1)} {right}"), "verified", key="hooks-1")
    case("beside a version that is not known", webhook(f"v1a,AAAA {right}"), "verified", key="hooks-1")
    case("another id", replaced(good, "webhook-id", "msg_2"), "mismatch")
    case("an id with a full stop", webhook("v1," + webhook_mac(nonce="msg.1"), nonce="msg.1"), "malformed")
    case("another time", replaced(good, "webhook-timestamp", str(NOW + 1)), "mismatch")
    case("another body", good, "mismatch", body="")
    case("too old", good, "stale", now=NOW + 301)
    case("without a secret for it", good, "unknown_key", integration="none")
    case("without its padding", webhook(right.rstrip("=")), "malformed")
    case("only another version", webhook("v1a,AAAA"), "malformed")
    case("commas between signatures", webhook(f"{right},{right}"), "malformed")
    for header in ["webhook-id", "webhook-timestamp", "webhook-signature"]:
        case(f"without {header}", without(good, header), "missing")
    older = [[name.replace("webhook", "svix"), value] for name, value in good]
    case("under the older names of its headers", older, "verified", key="hooks-1")
    case("under both names", good + older, "verified", key="hooks-1")
    for name, value in older:
        case(f"with another {name}", [*good, [name, value + "1"]], "malformed")


def stripe_vectors():
    def case(name, headers, expected, **more):
        vector(f"stripe: {name}", "stripe", headers, expected, **more)

    right = "v1=" + stripe_mac()
    case("as documented", stripe(right), "verified", key="stripe-1")
    case(
        "two keys while one is replaced",
        stripe(f"v1={stripe_mac('stripe-2')},v0=00"),
        "verified",
        key="stripe-2",
    )
    case("a scheme that is not known", stripe(f"{right},v0=6ffbb59b"), "verified", key="stripe-1")
    case("another time", stripe(right, at=NOW + 1), "mismatch")
    case("another body", stripe(right), "mismatch", body=BODY[:-1])
    case("too old", stripe("v1=" + stripe_mac(at=NOW - 301), at=NOW - 301), "stale")
    case("without a time", [["stripe-signature", right]], "malformed")
    case("two times", stripe(f"t={NOW},{right}"), "malformed")
    case("only another scheme", stripe("v0=6ffbb59b"), "malformed")
    case("unsigned", [], "missing")


def github_vectors():
    def case(name, headers, expected, **more):
        vector(f"github: {name}", "github", headers, expected, **more)

    # The example of GitHub's own documentation.
    hello = [
        ["x-github-delivery", "delivery-1"],
        ["x-hub-signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"],
    ]
    case("the documented example", hello, "verified", key="octo-1", body="Hello, World!")
    case("another body", github(), "mismatch", body="Hello, World!")
    case("without a delivery", without(hello, "x-github-delivery"), "missing")
    case(
        "without its prefix",
        replaced(
            hello, "x-hub-signature-256", "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        ),
        "malformed",
    )
    case("no valid key", hello, "expired_key", body="Hello, World!", integration="expired")


def rfc9421_vectors():
    def case(name, headers, expected, **more):
        vector(f"rfc9421: {name}", "rfc9421", headers, expected, **more)

    good, ours = message(), {"key": "message-1"}
    all_covered = ("@method", "@authority", "@path", "@query", "content-digest")
    case("as documented", good, "verified", **ours)
    case("a secret in Base64", message("message-2"), "verified", key="message-2")
    case("without a nonce", message(more=""), "verified", **ours)
    case("without a nonce where one is required", message(more=""), "malformed", nonce_required=True)
    case(
        "with all parameters",
        message(more=f';alg="hmac-sha256";tag="t";expires={NOW + 60}'),
        "verified",
        **ours,
    )
    case("expired", message(more=f";expires={NOW}"), "stale", now=NOW + 5)
    case("too old", good, "stale", now=NOW + 301)
    case("from the future", good, "future", now=NOW - 301)
    case("in another order", message(covered=all_covered[::-1]), "verified", **ours)
    case(
        "the target at once",
        message(covered=("@method", "@authority", "@request-target", "content-digest")),
        "verified",
        **ours,
    )
    empty = message(covered=all_covered[:4])
    case("an empty body needs no digest", without(empty, "content-digest"), "verified", body="", **ours)
    case("a body was added", empty, "malformed")
    case("another body", good, "mismatch", body=BODY + " ")
    changed = replaced(good, "content-digest", content_digest("{}"))
    case("another body and its digest", changed, "mismatch", body="{}")
    case("another method", good, "mismatch", method="PUT")
    case("another path", good, "mismatch", path="/refund?id=1")
    case("another query", good, "mismatch", path="/pay?id=2")
    case("a query was added", message(covered=[*all_covered[:3], "content-digest"]), "malformed")
    case("another host is signed", message(at_authority="other.example"), "mismatch")
    for name in all_covered:
        covered = [other for other in all_covered if other != name]
        case(f"does not cover {name}", message(covered=covered), "malformed")
    case("another key's name", message("message-2", signer="message-1"), "mismatch")
    case("an unknown key", message("message-3", signer="message-1"), "unknown_key")
    case("another algorithm", message(more=';alg="ed25519"'), "missing")
    case("a parameter that is not known", message(more=";x=1"), "malformed")
    other = message("message-3", label="other", signer="message-1")
    case("beside a signature for somebody else", both(other, good), "verified", **ours)
    case("two of the same label", both(good, good), "malformed")
    spaced = replaced(good, "signature-input", good[2][1].replace(";created", "; created"))
    case("in another spelling", spaced, "malformed")
    label = replaced(good, "signature", good[3][1].replace("sig1", "sig2"))
    case("a signature of another label", label, "malformed")
    case(
        "the signature in another spelling",
        replaced(good, "signature", good[3][1].replace("=:", ":")),
        "malformed",
    )
    for header in ["signature-input", "signature"]:
        case(f"without {header}", without(good, header), "missing")
    case("without content-digest", without(good, "content-digest"), "malformed")


def document():
    portcullis_vectors()
    body_vectors()
    standard_webhooks_vectors()
    stripe_vectors()
    github_vectors()
    rfc9421_vectors()
    keys = [key | {"secret": SECRETS[key["id"]]} for key in KEYS]
    about = (
        "Requests and what comes of them, by tests/make_vectors.py. Times are Unix seconds; "
        "tolerance_s is 300 and any partner may sign unless a vector says otherwise."
    )
    return json.dumps({"about": about, "keys": keys, "vectors": VECTORS}, indent=1) + "\n"


def main():
    text = document()
    if "--check" in sys.argv[1:]:
        sys.exit(0 if FILE.read_text() == text else f"{FILE} is out of date")
    if "--print" in sys.argv[1:]:
        sys.exit(print(text))
    FILE.write_text(text)


if __name__ == "__main__":
    main()
