"""What the load ran on, in a few words for the report."""

import os
import platform
from pathlib import Path


def described() -> str:
    cores, busy = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    return f"{cores} cores of {_processor()}, Linux {platform.release()}, load {busy:.1f}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
