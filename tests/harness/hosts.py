"""The hosts of the gate: how a plugin configuration becomes one of Envoy's HTTP filters in each, and what
else differs for somebody who looks at an Envoy from outside.

Tests, demo, chaos, load and benchmarks ask here, and know nothing of it themselves. What one host alone can
do has a test with the marker `one_host`, which says why.
"""

import dataclasses
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harness import artifacts

NODE = "edge-1"  # of every Envoy that has no other name
# Metrics of which there is one for each reason or key id that comes up: natively a label says which, and with wasm the
# name.
_FAMILIES = (
    re.compile(r'(?P<before>\w+_block)(?P<after>_\w+)\{reason="(?P<what>[^"]*)"\}'),
    re.compile(r'(?P<before>\w+_skew_ms)(?P<after>_(?:sum|count))\{key_id="(?P<what>[^"]*)"\}'),
)
TYPES = "type.googleapis.com/"
_FILTERS = TYPES + "envoy.extensions.filters.http."


@dataclass(frozen=True)
class Gate:
    """One gate in a chain of filters."""

    plugin: dict
    memory: str = "portcullis"  # gates of one Envoy and one host that have the same share everything
    struct: bool = False  # the plugin configuration as a Struct, not as a JSON string
    body_callbacks: bool = True  # while headers are held; natively always
    module: Path | None = None  # another than that of the host

    def configuration(self) -> dict:
        """The plugin configuration as Envoy wants it."""
        if self.struct:
            return {"@type": TYPES + "google.protobuf.Struct", "value": self.plugin}
        return {"@type": TYPES + "google.protobuf.StringValue", "value": json.dumps(self.plugin)}


class Host(ABC):
    """What runs the gate inside Envoy."""

    name: ClassVar[str]
    # Envoy's logger of what the gate says.
    logger: ClassVar[str]
    # Before `stat_prefix`, in /stats and in /stats/prometheus.
    stats: ClassVar[str]
    prometheus: ClassVar[str]
    # What an access log writes of a request that would have been rejected.
    shadow: ClassVar[str]
    # Where the examples in envoy/ have the module.
    installed: ClassVar[str]
    # Metrics that the other host alone has.
    lacks: ClassVar[frozenset[str]]

    @abstractmethod
    def module(self) -> Path:
        """What was built."""

    @abstractmethod
    def trap(self) -> Path:
        """The build for tests alone, which panics and forgets on demand."""

    @abstractmethod
    def http_filter(self, gate: Gate, name: str = "portcullis") -> dict:
        """One entry of `http_filters`."""

    @abstractmethod
    def poller(self, gate: Gate) -> list[dict]:
        """Bootstrap extensions without which a worker would have to poll."""

    def said(self, log: str) -> list[str]:
        """The lines that the gate has logged, as Envoy frames them."""
        return [line for line in log.splitlines() if f"][{self.logger}]" in line and self._is_ours(line)]

    def _is_ours(self, line: str) -> bool:
        return True

    def samples(self, samples: dict[str, float]) -> dict[str, float]:
        """Metrics as Prometheus reads them, those of the gate by the names that all hosts have in common."""
        return {self._common(name.removeprefix(self.prometheus)): value for name, value in samples.items()}

    def names(self, stats: str) -> set[str]:
        """The metrics in Envoy's /stats that are of a gate whose `stat_prefix` is `portcullis`, without both."""
        found = re.findall(rf'"{re.escape(self.stats)}portcullis\.([^"]+)"', stats)
        return {self._common_stat(name) for name in found}

    def _common(self, name: str) -> str:
        return name

    def _common_stat(self, name: str) -> str:
        return name


class Wasm(Host):
    """A proxy-wasm module, in a VM for each worker."""

    name = "wasm"
    logger = "wasm"
    stats = "wasmcustom."
    prometheus = ""
    shadow = "%FILTER_STATE(wasm.portcullis:PLAIN)%"
    installed = "/etc/portcullis/portcullis.wasm"
    lacks = frozenset({"panics"})

    def module(self) -> Path:
        return artifacts.wasm()

    def trap(self) -> Path:
        return artifacts.trap_wasm()

    def http_filter(self, gate: Gate, name: str = "portcullis") -> dict:
        config = self._config("portcullis", gate)
        return {"name": name, "typed_config": {"@type": _FILTERS + "wasm.v3.Wasm", "config": config}}

    def poller(self, gate: Gate) -> list[dict]:
        service = {
            "@type": TYPES + "envoy.extensions.wasm.v3.WasmService",
            "singleton": True,
            "config": self._config("portcullis_poller", gate),
        }
        return [{"name": "envoy.bootstrap.wasm", "typed_config": service}]

    def _config(self, root_id: str, gate: Gate) -> dict:
        """Envoy's PluginConfig. `vm_config` is the same everywhere: shared data depends on it."""
        return {
            "name": root_id,
            "root_id": root_id,
            "failure_policy": "FAIL_RELOAD",
            "allow_on_headers_stop_iteration": gate.body_callbacks,
            "vm_config": {
                "vm_id": gate.memory,
                "runtime": "envoy.wasm.runtime.v8",
                "code": {"local": {"filename": str(gate.module or self.module())}},
            },
            "configuration": gate.configuration(),
        }

    def _is_ours(self, line: str) -> bool:
        return "wasm log" in line


class Native(Host):
    """A dynamic module: a shared object in Envoy's own process, whose main thread always polls."""

    name = "native"
    logger = "dynamic_modules"
    stats = "dynamicmodulescustom."
    prometheus = "envoy_dynamicmodulescustom_"
    shadow = "%FILTER_STATE(portcullis:PLAIN)%"
    installed = "/etc/portcullis/libportcullis.so"
    lacks = frozenset()

    def module(self) -> Path:
        return artifacts.native()

    def trap(self) -> Path:
        return artifacts.trap_native()

    def http_filter(self, gate: Gate, name: str = "portcullis") -> dict:
        settings = {
            "@type": _FILTERS + "dynamic_modules.v3.DynamicModuleFilter",
            "dynamic_module_config": self._module_config(gate),
            "filter_name": gate.memory,
            "filter_config": self._named(gate).configuration(),
        }
        return {"name": name, "typed_config": settings}

    def for_route(self, gate: Gate) -> dict:
        """An entry of `typed_per_filter_config`: another plugin configuration on one route."""
        return {
            "@type": _FILTERS + "dynamic_modules.v3.DynamicModuleFilterPerRoute",
            "dynamic_module_config": self._module_config(gate),
            "per_route_config_name": gate.memory,
            "filter_config": self._named(gate).configuration(),
        }

    def _module_config(self, gate: Gate) -> dict:
        # Its memory is the process's: it has to outlive the listener.
        return {"module": {"local": {"filename": str(gate.module or self.module())}}, "do_not_close": True}

    def _is_ours(self, line: str) -> bool:
        return "] portcullis: " in line

    @staticmethod
    def _named(gate: Gate) -> Gate:
        """With a name of the node, since Envoy's own cannot be read."""
        if not isinstance(gate.plugin, dict):  # but what is refused anyway
            return gate
        named = {"node": NODE, **gate.plugin}
        return dataclasses.replace(
            gate, plugin={key: value for key, value in named.items() if value is not None}
        )

    def poller(self, gate: Gate) -> list[dict]:
        return []

    def _common(self, name: str) -> str:
        for family in _FAMILIES:
            if match := family.fullmatch(name):
                parts = match.groupdict()
                what = re.sub(r"\W", "_", parts["what"])
                return f"{parts['before']}_{what}{parts['after']}"
        return name

    def _common_stat(self, name: str) -> str:
        if match := re.fullmatch(r"block\.(\w+)\.reason\.(.+)", name):
            return f"block.{match[2]}.{match[1]}"
        return name.replace("signature.skew_ms.key_id.", "signature.skew_ms.")


WASM, NATIVE = Wasm(), Native()
ALL: dict[str, Host] = {host.name: host for host in (WASM, NATIVE)}
DEFAULT = WASM.name

_chosen: Host = WASM


def chosen() -> Host:
    """The host of whoever does not say which."""
    return _chosen


@contextmanager
def chosen_as(name: str) -> Iterator[Host]:
    """Until the `with` ends."""
    global _chosen
    before, _chosen = _chosen, ALL[name]
    try:
        yield _chosen
    finally:
        _chosen = before


def gate_of(options) -> Gate:
    """Of an `envoy.Options`, which has these members among others."""
    names = [field.name for field in dataclasses.fields(Gate)]
    return Gate(**{name: getattr(options, name) for name in names})
