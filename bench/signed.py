"""Signed requests for a load: each can be used once, so each run needs new ones.

They are signed beforehand, outside of what is measured. The body is the same in all of them, and
so is its hash: the filter cannot know, and hashes every one.
"""

import hashlib
import hmac
import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.load import Load

KEY_ID, _SECRET = "bench-1", "a-signing-secret-for-the-benchmark"
_PATH = "/"
# More than one run can send.
_REQUESTS = 200_000

CONFIG = {
    "integrations": [
        {
            "name": "partner",
            "match": [{"path": {"prefix": "/"}}],
            "body_bytes_max": 128 * 1024,
            "signature": {"profile": "portcullis", "partner": "bench", "nonce": "required"},
        }
    ],
    "keys": [{"id": KEY_ID, "partner": "bench", "secret": _SECRET}],
    # Room for every request of a whole benchmark: they are remembered for the tolerance.
    "replay": {"slabs": 16_384, "slab_bytes_max": 16_384},
}


def requests(body_bytes: int) -> Callable[[], Load]:
    """A load of POSTs with a body of this size, signed when it is asked for."""
    body_hash = hashlib.sha256(b"x" * body_bytes).hexdigest()

    def sign() -> Load:
        at = str(int(time.time()))
        run = secrets.token_hex(4)
        head, tail = f"v1\n{at}\n{KEY_ID}\n", f"\nPOST\n{_PATH}\n{body_hash}"
        key = _SECRET.encode()
        lines = []
        for number in range(_REQUESTS):
            nonce = f"{run}-{number:08d}"
            mac = hmac.digest(key, f"{head}{nonce}{tail}".encode(), "sha256").hex()
            lines.append(f"{nonce} {mac}\n")
        directory = Path(tempfile.gettempdir())
        file = directory / f"portcullis-bench-{body_bytes}.txt"
        file.write_text("".join(lines))
        return Load(("signed", str(file), KEY_ID, at, "POST", _PATH, str(body_bytes)))

    return sign
