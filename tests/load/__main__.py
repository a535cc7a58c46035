"""`scripts/load`: see there for the options."""

import argparse
import os
import sys
from contextlib import ExitStack
from pathlib import Path

from harness import hosts
from load import machine, own, run, stop

_SCRIPTS = ["limits", "signatures", "invalidation", "mixed"]


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("must be greater than 0")
    return number


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/load", description=__doc__)
    parser.add_argument("script", nargs="?", choices=_SCRIPTS, default="mixed")
    parser.add_argument("--seconds", type=_positive, default=20, help="how long; default: 20")
    parser.add_argument("--rate", type=_positive, default=100, help="a second; default: 100")
    parser.add_argument("--slack", type=_positive, default=1, help="latencies' bounds times this")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write Markdown there")
    parser.add_argument("--redis", action="store_true", help="a Redis behind the invalidator")
    parser.add_argument("--host", choices=list(hosts.ALL), default=hosts.DEFAULT, help="of a gate of our own")
    options = parser.parse_args()
    if options.report and not options.report.absolute().parent.is_dir():
        parser.error(f"argument --report: there is no folder {options.report.parent}")
    return options


def main() -> int:
    options = _options()
    stop.on_sigterm()
    chosen = {
        "PORTCULLIS_LOAD_NAME": options.script,
        "PORTCULLIS_LOAD_SECONDS": f"{options.seconds:g}",
        "PORTCULLIS_LOAD_RATE": f"{options.rate:g}",
        "PORTCULLIS_LOAD_SLACK": f"{options.slack:g}",
        "PORTCULLIS_LOAD_MACHINE": machine.described(),
    }
    with ExitStack() as cleanup:
        if os.environ.get("PORTCULLIS_URL"):
            if options.redis:
                sys.exit("load: --redis is for a stack of our own, and PORTCULLIS_URL is set")
            if options.host != hosts.DEFAULT:
                sys.exit("load: --host is for a stack of our own, and PORTCULLIS_URL is set")
            target = {}
        else:
            cleanup.enter_context(hosts.chosen_as(options.host))
            target = cleanup.enter_context(own.stack(options.redis))
        url = target.get("PORTCULLIS_URL") or os.environ["PORTCULLIS_URL"]
        print(f"load: {options.script} for {options.seconds:g} s against {url}", flush=True)
        return run.k6(options.script, {**target, **chosen}, options.report)


try:
    sys.exit(main())
except (RuntimeError, FileNotFoundError, AssertionError) as error:
    sys.exit(f"load: {error}")
except KeyboardInterrupt:
    sys.exit("load: interrupted")
