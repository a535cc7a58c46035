"""The example configurations in envoy/, on each host.

One of them is written for the native host. The others are moved to it as docs/explanation/hosts.md says: the filter is
another, there is no extension that polls, the access log asks for another name, and claims of a JWT come by headers.
All else stays.
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
                _claims_by_header(manager)
    return yaml.safe_dump(config, sort_keys=False).replace("wasm.portcullis:", "portcullis:")


def _claims_by_header(manager: dict) -> None:
    """Claims come by headers that `jwt_authn` writes, and that nobody else can."""
    filters = {entry["name"]: entry["typed_config"] for entry in manager["http_filters"]}
    configuration = filters["portcullis"]["filter_config"]["value"]
    if not isinstance(configuration, dict):  # that has no claims
        return
    written = {}
    for sources in configuration["identity"].values():
        for source in sources if isinstance(sources, list) else []:
            if claim := source.pop("jwt_claim", None):
                header = f"x-jwt-{claim['claim']}"
                written[header], source["header"] = claim["claim"], header
    if not written:
        return
    for provider in filters["envoy.filters.http.jwt_authn"]["providers"].values():
        # What is no good value of a header would come as none.
        provider["subjects"] = {"safe_regex": {"regex": "[!-~]+"}}
        provider["claim_to_headers"] = [
            {"header_name": header, "claim_name": claim} for header, claim in written.items()
        ]
    (early,) = manager["early_header_mutation_extensions"]
    early["typed_config"]["mutations"] += [{"remove": header} for header in written]


def _moved(http_filter: dict) -> dict:
    typed = http_filter["typed_config"]
    if not typed["@type"].endswith(_WASM_TYPE):
        return http_filter
    entry = NATIVE.http_filter(Gate({}), http_filter["name"])
    # Word for word, whichever form it has.
    entry["typed_config"]["filter_config"] = typed["config"]["configuration"]
    return entry
