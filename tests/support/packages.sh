# SPDX-License-Identifier: Apache-2.0
# Sourced by quickstart and tests/run: install the Debian packages that are missing, saying which and why.
# Usage: need_packages "package:why" ...        Status 1, with what to run by hand, when that cannot be done.

need_packages() {
    local entry package why missing=() as_root=()
    for entry in "$@"; do
        package=${entry%%:*} why=${entry#*:}
        # Without dpkg (another distribution) nothing can be looked up: the build will say what it misses.
        command -v dpkg-query >/dev/null || return 0
        if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | cut -c1-9)" != installed ]; then
            [ ${#missing[@]} -gt 0 ] || echo "Installing what is missing (Debian packages):"
            printf '  %-22s %s\n' "$package" "$why"
            missing+=("$package")
        fi
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "not root, and there is no sudo: run as root: apt-get install ${missing[*]}" >&2
            return 1
        fi
        as_root=(sudo)
    fi
    local log
    log=$(mktemp)
    if ! { "${as_root[@]}" apt-get update -q && "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
        tail -n 15 "$log" >&2
        rm -f "$log"
        echo "apt-get failed (above); by hand: apt-get install ${missing[*]}" >&2
        return 1
    fi
    rm -f "$log"
}

BUILD_PACKAGES=(
    "gcc:the compiler"
    "libc6-dev:the C library's headers"
    "meson:the build description"
    "ninja-build:the build"
    "pkgconf:finds the libraries"
    "libisal-dev:CRC32C at memory speed"
    "liburing-dev:io_uring, the disk driver"
    "libnuma-dev:memory beside the core that uses it"
    "libjansson-dev:JSON records on the command line"
    "libssl-dev:the MAC of resume tokens"
    "libsqlite3-dev:the embedded coordination store"
    "zlib1g-dev:headers of the codec; as the three below, loaded when a batch needs it"
    "libsnappy-dev:the same"
    "liblz4-dev:the same"
    "libzstd-dev:the same"
)
TEST_PACKAGES=(
    "python3:runs the test drivers"
    "python3-numpy:arrays of records in Python"
    "libcmocka-dev:unit tests"
    "clang:the second compiler, sanitizers and fuzzers"
    "libclang-rt-14-dev:their run time"
    "g++:public headers must compile as C++, and the C++ example"
    "binutils:nm, for what the cores may call"
    "git:the list of files that lint reads"
    "strace:counts system calls"
    "default-jre-headless:runs Apache Kafka's own tools on what a node writes"
    "maven:fetches them"
)
