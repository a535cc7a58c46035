"""The module as a file: what Envoy sees of it before anything runs."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import artifacts

LISTED = artifacts.REPOSITORY / "filter/exports"
EXPORT_SECTION = 7

of_wasm = pytest.mark.one_host("wasm", reason="this reads the file of a wasm module")
of_native = pytest.mark.one_host("native", reason="this reads a shared object")


@of_native
def test_the_shared_object_shows_envoy_its_callbacks_and_nothing_else():
    assert {
        name for name in symbols("--defined-only") if not name.startswith("envoy_dynamic_module_on_")
    } == set()


@of_native
def test_the_shared_object_needs_of_envoy_what_envoy_has():
    """One symbol that is missing, and it cannot be loaded."""
    ours = {name for name in symbols("--undefined-only") if name.startswith("envoy_")}
    argv = ["nm", "--dynamic", "--defined-only", "--format=just-symbols", str(binary())]
    assert ours
    assert (
        ours - set(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()) == set()
    )


@of_wasm
def test_the_module_exports_what_is_listed_and_nothing_else():
    assert sorted(exports(artifacts.wasm().read_bytes())) == sorted(listed())


@of_wasm
def test_every_callback_that_the_filter_implements_is_listed():
    sources = "".join(path.read_text() for path in (LISTED.parent / "src").glob("*.rs"))
    callbacks = set(re.findall(r"\n    fn (on_\w+)\(&mut self", sources))
    assert {"on_configure", "on_http_request_headers"} <= callbacks
    # The SDK's traits say "http" where the proxy's interface does not.
    exported = {name.removeprefix("proxy_") for name in listed()}
    assert {name for name in callbacks if not {name, name.replace("http_", "")} & exported} == set()


def symbols(which: str) -> list[str]:
    """Of the native module's dynamic symbols, without their versions."""
    argv = ["nm", "--dynamic", which, "--format=just-symbols", str(artifacts.native())]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return [name.partition("@")[0] for name in done.stdout.split()]


def binary() -> Path:
    """Envoy itself, which may be started by a script."""
    envoy = artifacts.envoy()
    if envoy.read_bytes()[:4] == b"\x7fELF":
        return envoy
    return next(envoy.parent.parent.glob("lib/python*/site-packages/envoy/_bin/envoy"))


def listed() -> list[str]:
    lines = LISTED.read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def exports(module: bytes) -> Iterator[str]:
    """The names in the export section, read as the binary format of WebAssembly says."""
    assert module[:8] == b"\0asm\1\0\0\0"
    at = 8
    while module[at] != EXPORT_SECTION:
        size, at = number(module, at + 1)
        at += size
    _, at = number(module, at + 1)
    count, at = number(module, at)
    for _ in range(count):
        length, at = number(module, at)
        yield module[at : at + length].decode()
        _, at = number(module, at + length + 1)  # after the byte that says what is exported


def number(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
