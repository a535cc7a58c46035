"""Which tests run on which host of the gate.

`pytest --host native` runs the whole suite on that host, but for tests with the marker `one_host`, which says why:
the reasons that several tests have are here. `scripts/test` runs the whole suite on the default host, and on the
other one `--core`.

The core leaves out the rules, which both hosts have from the same crates. It has each way in which a rule
reaches Envoy, since that is where a host has code of its own: a file for each, with what it is here for.
"""

import pytest

WORKER_POLLS = pytest.mark.one_host("wasm", reason="a native gate is always polled for on the main thread")
BODIES_KEPT_BACK = pytest.mark.one_host(
    "wasm", reason="a setting of wasm plugins keeps bodies back; a native gate is always handed them"
)
COUNTS_WITHOUT_REQUESTS = pytest.mark.needs_envoy(
    "native", (1, 39), reason="in an older one what is not counted by a request shows with the next request"
)
WASM_TRAPS = pytest.mark.one_host("wasm", reason="what a panic ends is the VM of a wasm module")

CORE: dict[str, str] = {
    "test_module.py": "the file: what it shows, and what it needs of Envoy",
    "test_config.py": "a plugin configuration on its way in, and its errors on their way out",
    "test_deploy.py": "the steps of the tutorial",
    "test_examples.py": "every example in envoy/, and whoever tries to get past it",
    "test_blocks.py": "from an event to an answer: memory that all workers share",
    "test_limits.py": "buckets: writes of several workers to one record",
    "test_identity.py": "headers, cookies and addresses as they are read",
    "test_many_headers.py": "requests with as many header lines as there may be",
    "test_responses.py": "answers of the gate's own, and headers that it adds to others'",
    "test_routes.py": "configurations of single routes, which this host alone has",
    "test_grpc.py": "the same to clients of gRPC",
    "test_chains.py": "two gates in a chain, redirects, tunnels",
    "test_held.py": "requests that are held for their bodies: every order of headers, body, trailers and time",
    "test_signatures.py": "bodies as they are read and hashed",
    "test_burn.py": "what strangers may cost",
    "test_keys.py": "keys, which come by the poll",
    "test_room.py": "memory that is full",
    "test_memory_under_lds.py": "configurations that change while requests are under way",
    "test_hot_restart.py": "a process that takes over from another",
    "test_faults.py": "polls that fail, time out, and come back",
    "test_scrub.py": "what is compared with the daemon all the time",
    "test_fleet_buckets.py": "reports of limits across the fleet, which a host sends by itself",
    "test_propagation.py": "how long a block takes",
    "test_metrics.py": "counters and histograms, by their names",
    "test_metrics_and_log.py": "what they count, and what the access log says",
}
