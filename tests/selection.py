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
WASM_TRAPS = pytest.mark.one_host("wasm", reason="what a panic ends is the VM of a wasm module")

CORE: dict[str, str] = {
    "test_blocks.py": "blocks, scopes and sessions, from an event to an answer",
}
