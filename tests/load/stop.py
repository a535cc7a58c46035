"""SIGTERM ends the program, and so stops what it has started."""

import signal
import sys

_EXIT_CODE = 128 + signal.SIGTERM
_asked = False


def on_sigterm() -> None:
    """From now on: SystemExit wherever the program is."""

    def end(*_) -> None:
        global _asked
        _asked = True
        sys.exit(_EXIT_CODE)

    signal.signal(signal.SIGTERM, end)


def check() -> None:
    """Python drops what a handler raises while a child is made: ask here from time to time."""
    if _asked:
        sys.exit(_EXIT_CODE)
