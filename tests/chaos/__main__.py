"""`scripts/chaos`: see there for the options."""

import argparse
import asyncio
import functools
import random
import shutil
import sys
import tempfile
from pathlib import Path

from chaos import report
from chaos.run import Run
from harness import hosts
from harness.proc import kill_all

_LONG_S = 3600.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="default: a new one for each run")
    parser.add_argument("--seconds", type=float, help="go on for so long")
    parser.add_argument("--long", action="store_true", help="go on for an hour")
    parser.add_argument(
        "--pause", type=float, help="instead: stop a daemon, and then Redis, for so many seconds each"
    )
    parser.add_argument("--host", choices=list(hosts.ALL), default=hosts.DEFAULT, help="of the gate")
    parser.add_argument(
        "--broken",
        action="store_true",
        help="one node has the fleet's limits for itself: the run has to find out, and to fail",
    )
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(1_000_000)
    seconds = options.seconds or (_LONG_S if options.long else None)
    again = f"scripts/chaos --seed {seed}" + (f" --seconds {seconds:g}" if seconds else "")
    again += f" --pause {options.pause:g}" if options.pause else ""
    again += f" --host {options.host}" if options.host != hosts.DEFAULT else ""
    again += " --broken" if options.broken else ""

    directory = Path(tempfile.mkdtemp(prefix="pc-chaos-"))
    print(f"chaos: seed {seed}, host {options.host}", flush=True)
    with hosts.chosen_as(options.host):
        say = functools.partial(print, flush=True)
        run = Run(directory, seed, say, options.pause, broken=options.broken)
    try:
        outcome = asyncio.run(run.run(seconds))
    except BaseException:
        print(f"chaos: FAILED; logs: {directory}; to repeat it: {again}", file=sys.stderr)
        raise
    finally:
        kill_all(directory)
    print("\n".join(report.summary(outcome, run.ledger, run.publisher)))
    print("\n".join(report.limits(run.limits)))
    if outcome.failures or run.ledger.violations or run.limits.breaches:
        print("\n".join(report.violations(outcome, run.ledger)), file=sys.stderr)
        print("\n".join(report.breaches(outcome, run.limits)), file=sys.stderr)
        print(f"chaos: FAILED; logs: {directory}; to repeat it: {again}", file=sys.stderr)
        return 1
    shutil.rmtree(directory)
    print(f"chaos: every promise was kept, in {outcome.seconds:.0f} s")
    return 0


sys.exit(main())
