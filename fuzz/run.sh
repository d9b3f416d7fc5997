#!/usr/bin/env bash
# Runs every fuzz target for a while, two at a time. Usage: fuzz/run.sh [SECONDS] (600 unless told)
#
# Needs cargo-fuzz and a nightly compiler; fuzz/seeds.sh fills the corpus first. Says what each target saw, and keeps what it
# found under fuzz/artifacts.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
secs=${1:-600}
logs=target/logs
mkdir -p "$logs"

fuzz() {
    local target=$1
    mkdir -p "corpus/$target"
    # Files of up to 64 KiB, no image larger than 2 GB in memory, no second file of a minute.
    if nice cargo +nightly fuzz run --fuzz-dir . "$target" -- -max_total_time="$secs" -max_len=65536 \
        -rss_limit_mb=2048 -malloc_limit_mb=1024 -timeout=60 -print_final_stats=1 >"$logs/$target" 2>&1; then
        found="nothing found"
    else
        found="FOUND: see fuzz/$logs/$target"
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$logs/$target")
    edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$logs/$target" | tail -n 1)
    printf '%-12s %10s runs, %6s edges, %s\n' "$target" "${runs:-?}" "${edges:-?}" "$found"
}
export -f fuzz
export secs logs

cargo +nightly fuzz build --fuzz-dir .
cargo +nightly fuzz list --fuzz-dir . | xargs --max-procs=2 --replace bash -c 'fuzz {}'
