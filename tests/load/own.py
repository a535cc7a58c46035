"""A stack to send load to: everything on loopback, on free ports, with secrets of its own."""

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness import plugin, ports
from harness.stack import running

BURST = 20
PER_SECOND = 10
KEY_ID = "load-1"
SIGNED_PATH = "/partners/payments"


def gate(secret: str) -> dict:
    """One limit per user, and one integration that has to be signed."""
    return plugin.standard(
        limits=[
            {
                "name": "per-user",
                "key": "user",
                "max_tokens": BURST,
                "tokens_per_fill": PER_SECOND,
                "fill_interval": "1s",
            }
        ],
        integrations=[
            {
                "name": "payments",
                "match": [{"path": {"prefix": SIGNED_PATH}}],
                "signature": {"profile": "portcullis", "nonce": "required"},
            }
        ],
        keys=[{"id": KEY_ID, "partner": "load", "secret": secret}],
    )


@contextmanager
def stack(redis: bool) -> Iterator[dict[str, str]]:
    """Starts it, says by which variables the scripts find it, and stops it."""
    secret, plain_port = secrets.token_urlsafe(32), ports.free()
    with (
        tempfile.TemporaryDirectory(prefix="pc-load-") as directory,
        running(gate(secret), redis=redis, plain_port=plain_port) as started,
    ):
        secret_file = Path(directory) / "secret"
        secret_file.touch(mode=0o600)
        secret_file.write_text(secret)
        yield {
            # Nothing of an operator's environment may lead elsewhere.
            **{name: "" for name in os.environ if name.startswith("PORTCULLIS_")},
            "PORTCULLIS_URL": f"http://127.0.0.1:{started.edge.port}",
            "PORTCULLIS_BASELINE_URL": f"http://127.0.0.1:{plain_port}",
            "PORTCULLIS_API": f"http://127.0.0.1:{started.daemon.port}",
            "PORTCULLIS_TOKEN_FILE": str(started.daemon.token_file),
            "PORTCULLIS_LIMIT_BURST": str(BURST),
            "PORTCULLIS_LIMIT_PER_SECOND": str(PER_SECOND),
            "PORTCULLIS_SIGNED_PATH": SIGNED_PATH,
            "PORTCULLIS_KEY_ID": KEY_ID,
            "PORTCULLIS_KEY_SECRET_FILE": str(secret_file),
        }
