"""Free TCP ports on the loopback address."""

import random
import socket

# Below Linux's ephemeral range (32768 and up), so that no client connection of ours can take
# a port between the moment it is chosen and the moment a server binds it, or across a restart.
_CANDIDATES = list(range(20_000, 32_000))
random.shuffle(_CANDIDATES)


def is_free(port: int) -> bool:
    """Whether nobody listens on it."""
    with socket.socket() as probe:
        # As servers do, so that a connection that has just ended there is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free() -> int:
    """A port nobody listens on, never given out twice in one run."""
    while _CANDIDATES:
        port = _CANDIDATES.pop()
        if is_free(port):
            return port
    raise RuntimeError("no free port between 20000 and 32000")


def connect(port: int) -> None:
    """Raises OSError if nobody listens there."""
    socket.create_connection(("127.0.0.1", port), timeout=1).close()
