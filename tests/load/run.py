"""k6 as a child, and what its exit code and its verdict say."""

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

from harness import artifacts
from harness.proc import die_with_us
from load import stop

# k6's own exit codes.
_THRESHOLDS_CROSSED = 99
_OK = 0
_FILES = ["PORTCULLIS_TOKEN_FILE", "PORTCULLIS_KEY_SECRET_FILE"]
# How often it is looked whether k6 has ended.
_LOOK_S = 0.1


def k6(script: str, settings: dict[str, str], report: Path | None) -> int:
    """Runs one of the scripts in tests/k6. 0 if every rule was kept, 1 if one was broken, or k6's
    exit code if it could not be tried."""
    with tempfile.TemporaryDirectory(prefix="pc-load-") as directory:
        verdict = Path(directory) / "verdict.json"
        files = {"PORTCULLIS_LOAD_VERDICT": str(verdict)}
        if report:
            files["PORTCULLIS_LOAD_REPORT"] = str(report.absolute())
        # Secrets go by files, and their names by the environment: command lines can be seen by all.
        env = {**os.environ, **settings, **files}
        for name in _FILES:
            # To k6, a file is beside the script that opens it.
            if env.get(name):
                env[name] = str(Path(env[name]).absolute())
        ended = _ended(_argv(script), env)
        if ended not in (_OK, _THRESHOLDS_CROSSED):
            return ended
        # k6 cannot compare two metrics, and an error in its summary is none to it.
        judged = json.loads(verdict.read_text()) if verdict.exists() else {"passed": False}
        return 0 if ended == _OK and judged["passed"] else 1


def _argv(script: str) -> list[str]:
    file = artifacts.REPOSITORY / "tests/k6" / f"{script}.js"
    # No report to k6's makers, and no server of its own.
    return [str(artifacts.k6()), "run", "--quiet", "--no-usage-report", "--address", "", str(file)]


def _ended(argv: list[str], env: dict[str, str]) -> int:
    child = subprocess.Popen(argv, env=env, preexec_fn=die_with_us)  # noqa: PLW1509
    try:
        while child.poll() is None:
            stop.check()
            time.sleep(_LOOK_S)
        return child.returncode
    finally:
        if child.poll() is None:
            child.terminate()
            child.wait()
