"""Signs requests as partners do: written from the profiles' descriptions, with the standard library.

Each function returns the headers to send. `now` may be shifted to try the tolerance.
"""

import base64
import hashlib
import hmac
import time
import uuid

SECRET = "a-partner-secret-of-some-length"
_WEBHOOK_BYTES = f"{SECRET}-of-webhooks".encode()
WEBHOOK_SECRET = "whsec_" + base64.b64encode(_WEBHOOK_BYTES).decode()
# One for each profile: a key signs in one only.
SECRETS = {
    "portcullis": SECRET,
    "body": f"{SECRET}-of-body",
    "stripe": f"{SECRET}-of-stripe",
    "github": f"{SECRET}-of-github",
    "standard-webhooks": WEBHOOK_SECRET,
}


def now() -> int:
    return int(time.time())


def mac(secret: str, message: bytes) -> str:
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def portcullis(
    method: str,
    path: str,
    body: bytes = b"",
    *,
    key_id: str = "k1",
    secret: str = SECRET,
    at: int | None = None,
    nonce: str | None = None,
) -> dict[str, str]:
    timestamp = str(at if at is not None else now())
    nonce = str(uuid.uuid4()) if nonce is None else nonce
    digest = hashlib.sha256(body).hexdigest()
    lines = ["v1", timestamp, key_id, nonce, method, path, digest]
    headers = {
        "x-signature": "v1=" + mac(secret, "\n".join(lines).encode()),
        "x-timestamp": timestamp,
        "x-key-id": key_id,
    }
    return {**headers, "x-request-id": nonce} if nonce else headers


def body_only(
    body: bytes, *, key_id: str = "k1", secret: str = SECRETS["body"], at: int | None = None
) -> dict[str, str]:
    return {
        "x-signature": mac(secret, body),
        "x-timestamp": str(at if at is not None else now()),
        "x-key-id": key_id,
    }


def stripe(body: bytes, *, secret: str = SECRETS["stripe"], at: int | None = None) -> dict[str, str]:
    timestamp = at if at is not None else now()
    signature = mac(secret, f"{timestamp}.".encode() + body)
    return {"stripe-signature": f"t={timestamp},v1={signature}"}


def github(body: bytes, *, secret: str = SECRETS["github"], delivery: str | None = None) -> dict[str, str]:
    return {
        "x-hub-signature-256": "sha256=" + mac(secret, body),
        "x-github-delivery": delivery or str(uuid.uuid4()),
    }


def standard_webhooks(
    body: bytes, *, secret: bytes = _WEBHOOK_BYTES, at: int | None = None, id: str | None = None
) -> dict[str, str]:
    timestamp = str(at if at is not None else now())
    id = id or f"msg_{uuid.uuid4().hex}"
    signed = f"{id}.{timestamp}.".encode() + body
    digest = hmac.new(secret, signed, hashlib.sha256).digest()
    return {
        "webhook-id": id,
        "webhook-timestamp": timestamp,
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }
