"""The example configurations in envoy/, on each host.

One of them is written for the native host. The others are moved to it as docs/explanation/hosts.md says: the filter is
another, there is no extension that polls, and the access log asks for another name. All else stays.
"""

from pathlib import Path

import yaml

from harness import artifacts
from harness.hosts import NATIVE, Gate, Host

FOLDER = artifacts.REPOSITORY / "envoy"
_NATIVE = "native.yaml"
# What the native one is, on the other host.
_SAME = "minimal.yaml"
_WASM_TYPE = "envoy.extensions.filters.http.wasm.v3.Wasm"


def names(host: Host) -> list[str]:
    """Of those that are written for this host."""
    every = sorted(path.name for path in FOLDER.glob("*.yaml"))
    return [name for name in every if (name == _NATIVE) == (host is NATIVE)]


def path(name: str, host: Host) -> Path:
    """The file to begin with."""
    return FOLDER / (_NATIVE if host is NATIVE and name == _SAME else name)


def moved(text: str, host: Host) -> str:
    """An example with the module of this host, as it was built."""
    if host is not NATIVE or NATIVE.installed in text:
        assert host.installed in text
        return text.replace(host.installed, str(host.module()))
    config = yaml.safe_load(text)
    del config["bootstrap_extensions"]
    for listener in config["static_resources"]["listeners"]:
        for chain in listener["filter_chains"]:
            for one in chain["filters"]:
                manager = one["typed_config"]
                manager["http_filters"] = [_moved(entry) for entry in manager["http_filters"]]
    return yaml.safe_dump(config, sort_keys=False).replace("wasm.portcullis:", "portcullis:")


def _moved(http_filter: dict) -> dict:
    typed = http_filter["typed_config"]
    if not typed["@type"].endswith(_WASM_TYPE):
        return http_filter
    entry = NATIVE.http_filter(Gate({}), http_filter["name"])
    # Word for word, whichever form it has.
    entry["typed_config"]["filter_config"] = typed["config"]["configuration"]
    return entry
