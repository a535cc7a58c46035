"""Starts the loop, says what to try, and stops it again."""

import argparse
import json
import os
import re
import signal
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path

from demo import story
from harness import events, hosts, plugin, ports
from harness.daemon import Daemon
from harness.envoy import Envoy, Options
from harness.proc import Process
from harness.redis_server import Redis
from harness.stack import Stack
from harness.upstream import Upstream

PORTS = {"EDGE": 10000, "ADMIN": 9901, "API": 7700}

PLUGIN = plugin.standard(
    limits=[
        {
            "name": "per-user",
            "key": "user",
            "max_tokens": story.BURST,
            "tokens_per_fill": story.PER_SECOND,
            "fill_interval": "1s",
        }
    ],
    responses={"ratelimit_headers": "always"},
)


def chosen_ports() -> dict[str, int]:
    """From the environment, or the defaults; ends the program if one is taken."""
    chosen = {}
    for name, default in PORTS.items():
        variable = f"PORTCULLIS_{name}_PORT"
        text = os.environ.get(variable, str(default))
        if not text.isdigit() or not 1 <= int(text) <= 65535:
            sys.exit(f"demo: {variable}: must be a port, 1 to 65535, and not {text!r}")
        if not ports.is_free(int(text)):
            sys.exit(f"demo: port {text} is taken: choose another with {variable}")
        chosen[name] = int(text)
    return chosen


def start(cleanup: ExitStack, directory: Path, with_redis: bool) -> Stack:
    chosen = chosen_ports()

    def part(started):
        cleanup.callback(started.close)
        return started

    upstream = part(Upstream())
    redis = part(Redis(directory)) if with_redis else None
    daemon = part(Daemon(directory, redis.url if redis else None, port=chosen["API"]))
    options = Options(
        plugin=PLUGIN,
        upstream_port=upstream.port,
        poll_address=daemon.poll_address,
        port=chosen["EDGE"],
        admin_port=chosen["ADMIN"],
    )
    stack = Stack(upstream, part(Envoy(directory, options)), daemon, redis)
    stack.wait_synced()
    return stack


def introduce(stack: Stack, directory: Path) -> None:
    edge = f"http://127.0.0.1:{stack.edge.port}"
    cli = "target/release/portcullis"
    if stack.daemon.port != PORTS["API"]:
        cli = f"PORTCULLIS_API=http://127.0.0.1:{stack.daemon.port} {cli}"
    print(f"""
Portcullis is up.
  edge             {edge}  (Envoy, 2 workers; users by the header x-user-id)
  Envoy's admin    http://127.0.0.1:{stack.edge.admin_port}/stats?filter=portcullis
  invalidator API  http://127.0.0.1:{stack.daemon.port}/v1/status
  configurations, logs, and the token made for this demo in {directory}

Try, in another terminal in this folder:
  export PORTCULLIS_TOKEN_FILE={stack.daemon.token_file}
  curl -i -H 'x-user-id: alice' {edge}/bet
  {cli} block alice --reason cooling_off --scope bet,deposit --for 24h
  curl -i -H 'x-user-id: alice' {edge}/bet
  curl -i -H 'x-user-id: alice' {edge}/withdraw
  {cli} unblock alice
  {cli} status""")
    if stack.redis:
        event = json.dumps(events.event("block", "bob", reason="fraud", duration="1h"))
        # The shell puts in the time at which it is typed: an older event would not count.
        event = re.sub(r'"occurred_at": "[^"]*"', '"occurred_at": "\'$(date -u +%FT%TZ)\'"', event)
        print(f"""
An event through Redis, as a risk engine would publish it:
  redis-cli -p {stack.redis.port} publish {Redis.CHANNEL} '{event}'""")
    print("\nCtrl-C stops everything.", flush=True)


def wait_for_end() -> None:
    """Until Ctrl-C or SIGTERM; ends the program if a part stops by itself."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    while not ended.wait(timeout=0.5):
        for process in Process.running:
            process.ensure_alive()
    print("\nStopping.")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="play the story, check every answer, and stop")
    parser.add_argument("--redis", action="store_true", help="events go through a Redis of its own")
    parser.add_argument("--host", choices=list(hosts.ALL), default=hosts.DEFAULT, help="of the gate")
    return parser.parse_args()


def main() -> None:
    options = _options()
    with ExitStack() as cleanup:
        cleanup.enter_context(hosts.chosen_as(options.host))
        temporary = tempfile.TemporaryDirectory(prefix="portcullis-demo-")
        directory = Path(cleanup.enter_context(temporary))
        stack = start(cleanup, directory, options.redis)
        if options.once:
            story.play(stack)
        else:
            introduce(stack, directory)
            wait_for_end()


if __name__ == "__main__":
    try:
        main()
    except (story.WrongAnswer, RuntimeError) as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        sys.exit("demo: interrupted")
