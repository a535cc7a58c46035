"""The daemon's time of day, to be set at will while it runs. Its monotonic clock goes on as it does."""

from pathlib import Path

from harness import artifacts


class Clock:
    """Start the daemon with `env`; `ahead` then sets its clock, at once."""

    def __init__(self, directory: Path):
        self._file = directory / "faketime"
        self.ahead(0)
        self.env = {
            "LD_PRELOAD": str(artifacts.faketime()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def ahead(self, seconds: int) -> None:
        """Ahead of the true time by so much, or behind it."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}s\n")
        new.replace(self._file)
