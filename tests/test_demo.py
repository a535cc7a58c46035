"""The command a newcomer types first."""

import os
import subprocess

import pytest

from harness import artifacts, ports

DEMO = artifacts.REPOSITORY / "scripts/demo"


STORIES = {"embedded": [], "redis": ["--redis"], "native": ["--host", "native"]}


@pytest.mark.timeout(900)  # it also builds, if nobody has yet
@pytest.mark.parametrize("source", STORIES.values(), ids=STORIES)
def test_demo_plays_its_story_and_cleans_up(source):
    chosen = {f"PORTCULLIS_{name}_PORT": str(ports.free()) for name in ("EDGE", "ADMIN", "API")}
    played = subprocess.run(
        [str(DEMO), "--once", *source],
        env={**os.environ, **chosen},
        cwd="/",  # it works from any folder
        capture_output=True,
        text=True,
        timeout=840,
        check=False,
    )
    assert played.returncode == 0, played.stdout + played.stderr
    assert "403" in played.stdout and "429" in played.stdout
    for port in chosen.values():
        with pytest.raises(OSError):
            ports.connect(int(port))
