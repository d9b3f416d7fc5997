#!/usr/bin/env bash
# Everything that is to be known of this machine's GPU, in one command: checks first, then speed.
#
#   benches/compare/gpu.sh                 builds, checks, and writes benchmarks/<card>.md, and target/gpu.log
#   benches/compare/gpu.sh --pack FOLDER   puts stripped programs into FOLDER, for a machine without Rust
#   benches/compare/gpu.sh FOLDER          runs those
#
# Needs a driver, cuBLASLt, and for the table Python with torch and transformers (requirements.txt). Stops at the first check that fails:
# a speed of wrong numbers is none.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"

# The path of the test program that cargo built last.
built() {
    cargo test --release --locked --no-run --message-format=json "$@" 2>/dev/null |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1
}

pack() {
    local folder=$1
    mkdir -p "$folder"
    cargo build --release --locked --package simmim
    cp target/release/simmim "$folder/simmim"
    cp "$(built --package simmim-cuda --test gpu)" "$folder/contract"
    cp "$(built --package simmim-autograd --test gradients)" "$folder/gradients"
    cp "$(built --package simmim-train --test golden)" "$folder/golden"
    strip "$folder"/*
    du -ch "$folder"/* | tail -n 1
}

check() {
    local folder=$1
    printf '\n==> the contract of devices\n'
    SIMMIM_TEST_GPU=1 "$folder/contract" contract
    printf '\n==> gradients against finite differences\n'
    SIMMIM_TEST_DEVICE=cuda "$folder/gradients"
    printf '\n==> the authors'"'"' numbers\n'
    SIMMIM_GOLDEN_DIR=golden SIMMIM_TEST_DEVICE=cuda "$folder/golden" every_golden_file --nocapture
}

# The same weights are trained on by both devices.
check_training() {
    local simmim=$1 runs
    runs=$(mktemp -d)
    printf '\n==> a training on both devices\n'
    "$simmim" pretrain --data samples/photos --recipe demo --out "$runs/run" --set train.device=cpu --set train.max_steps=10
    for device in cuda cpu; do
        "$simmim" pretrain --from "$runs/run" --out "$runs/$device" --set train.device="$device" --set train.max_steps=20
    done
    # Within rounding, which grows from step to step.
    paste <(sed -n '1,10s/.*"loss":\([0-9.]*\).*/\1/p' "$runs/cuda/metrics.jsonl") \
        <(sed -n '1,10s/.*"loss":\([0-9.]*\).*/\1/p' "$runs/cpu/metrics.jsonl") |
        awk '{ d = $1 / $2 - 1; if (d < 0) d = -d; if (d > most) most = d; n++ } END { print n " losses, at most " most " apart"; exit !(n == 10 && most < 1e-3) }'
    rm -rf "$runs"
}

speed() {
    local simmim=$1
    printf '\n==> where a step goes\n'
    for model in vit-s/16 vit-b/16 vit-l/16; do
        "$simmim" bench step --variant "$model" --precision bf16 --batch 64 --steps 10 --profile --set train.device=cuda
    done
    "$simmim" bench step --variant swin-t --image-size 192 --window 6 --precision bf16 --batch 64 --steps 10 --profile --set train.device=cuda
    printf '\n==> beside PyTorch\n'
    python3 benches/compare/compare.py --device cuda --steps 20 --simmim "$simmim"
    printf '\n==> the cores of this machine\n'
    for threads in 1 2 4 8 16; do
        [ "$threads" -gt "$(nproc)" ] ||
            "$simmim" bench step --variant vit-s/16 --precision bf16 --threads "$threads" --set train.device=cpu
    done
}

if [ "${1:-}" = --pack ]; then
    pack "${2:?where to}"
    exit
fi
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
folder=${1:-}
if [ -z "$folder" ]; then
    folder=target/gpu
    pack "$folder"
fi
mkdir -p target
{
    check "$folder"
    check_training "$folder/simmim"
    speed "$folder/simmim"
} 2>&1 | tee target/gpu.log
