# Shared by the scripts in this folder: where the repository is, how to speak, how to stop.
# Sourced, never run. It starts nothing and installs nothing.
# shellcheck shell=bash disable=SC2034

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly ROOT
readonly VENV=$ROOT/.venv
readonly WASM_TARGET=wasm32-wasip1

RUST_VERSION_MIN=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml")
readonly RUST_VERSION_MIN

# What the Debian packages rust-web-src and wasi-libc put on the disk.
readonly DEBIAN_RUSTC=/usr/bin/rustc
readonly DEBIAN_STD_SOURCES=/usr/lib/rustlib/src/rust/library
readonly DEBIAN_WASI_LIBC=/usr/lib/wasm32-wasi

cd "$ROOT"

# What the scripts build has a fixed place in the repository: the environment must not move it.
unset CARGO_TARGET_DIR CARGO_BUILD_TARGET

say() { printf '%s\n' "$*"; }

# A failure the reader can act on: what is missing, then how to get it.
die() {
    printf 'portcullis: %s\n' "$@" >&2
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# Whether version $1 is $2 or newer.
at_least() { [ "$(printf '%s\n' "$2" "$1" | sort -V | head -n1)" = "$2" ]; }

# How this machine can build for the wasm target: "rustup", "debian", or "none". It looks at what
# is installed and keeps no record, so there is nothing that can go stale.
wasm_toolchain() {
    if [ -d "$(rustc --print sysroot)/lib/rustlib/$WASM_TARGET/lib" ]; then
        say rustup
    elif [ -x "$DEBIAN_RUSTC" ] && [ -d "$DEBIAN_STD_SOURCES" ] \
        && [ -f "$DEBIAN_WASI_LIBC/libc.a" ] \
        && at_least "$("$DEBIAN_RUSTC" --version | cut -d' ' -f2)" "$RUST_VERSION_MIN"; then
        say debian
    else
        say none
    fi
}
