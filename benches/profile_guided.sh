#!/usr/bin/env bash
# A release build that the compiler has laid out by what it saw of load: target/pgo/keygate. The load is that of `make bench-peers`.
# Usage: benches/profile_guided.sh; needs rustup, for llvm-tools, and what `benches/peers/run` needs.
set -euo pipefail
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
tools=$(rustc --print sysroot)/lib/rustlib/$host/bin
[ -x "$tools/llvm-profdata" ] || rustup component add llvm-tools
dir=$PWD/target/pgo

# With a target of its own, so that build scripts and macros are built as ever.
build() { RUSTFLAGS="$1" cargo build --release --locked --target "$host" --target-dir "$dir/$2"; }

# Cargo does not see that a profile has changed.
rm -rf "$dir/seen" "$dir/guided"
build "-Cprofile-generate=$dir/seen" seeing
benches/peers/run --keygate "$dir/seeing/$host/release/keygate" --contestants floor,keygate --out "$dir/out" \
    --scenarios small,keys,denied,connect,download,upload --keys 100000 --rounds 1 --duration 3
"$tools/llvm-profdata" merge --output "$dir/profile" "$dir/seen"
build "-Cprofile-use=$dir/profile" guided
cp "$dir/guided/$host/release/keygate" "$dir/keygate"
