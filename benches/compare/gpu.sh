#!/usr/bin/env bash
# Everything that is to be known of this machine's GPU, in one command: checks first, then speed.
#
#   benches/compare/gpu.sh                 builds, checks, and writes benchmarks/<card>.md, and target/gpu.log
#   benches/compare/gpu.sh --pack FOLDER   puts stripped programs into FOLDER, for a machine without Rust
#   benches/compare/gpu.sh FOLDER          runs those
#
# Needs a driver, cuBLASLt, and for the table Python with torch and transformers (requirements.txt). Stops at the first check that fails:
# a speed of wrong numbers is none. With two GPUs and mpirun it also trains on both. PEAK_TFLOPS (989: an H100, dense bf16) is what the
# utilisation is a share of, and PHOTOS names a folder of JPEGs for the run from end to end (samples/photos, which is small, otherwise).
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

# The first losses of two runs: the same within rounding, which grows from step to step.
require_alike() {
    local one=$1 other=$2 n=$3
    paste <(sed -n "1,${n}s/.*\"loss\":\([0-9.]*\).*/\1/p" "$one/metrics.jsonl") \
        <(sed -n "1,${n}s/.*\"loss\":\([0-9.]*\).*/\1/p" "$other/metrics.jsonl") |
        awk -v n="$n" '{ d = $1 / $2 - 1; if (d < 0) d = -d; if (d > most) most = d; lines++ } END { print lines " losses, at most " most + 0 " apart"; exit !(lines == n && most < 1e-3) }'
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
    require_alike "$runs/cuda" "$runs/cpu" 10
    rm -rf "$runs"
}

# The losses of two processes with a GPU each are those of one, within rounding.
check_two() {
    local simmim=$1 runs
    if [ "$(nvidia-smi --list-gpus | wc -l)" -lt 2 ] || ! command -v mpirun >/dev/null; then
        printf '\nNOT RUN: two GPUs, as there is one, or no mpirun\n'
        return
    fi
    runs=$(mktemp -d)
    printf '\n==> a training on two GPUs\n'
    local words=(pretrain --data samples/photos --recipe demo --set train.device=cuda --set train.max_steps=20)
    "$simmim" "${words[@]}" --out "$runs/one"
    mpirun --allow-run-as-root --bind-to none -n 2 "$simmim" "${words[@]}" --out "$runs/two"
    require_alike "$runs/one" "$runs/two" 20
    rm -rf "$runs"
}

# Model FLOP utilisation of a ViT-L/16: 61.7 billion multiplications an image forward, and twice that backward.
utilisation() {
    printf '\n==> the share of the peak that the model itself needs\n'
    "$1" bench step --variant vit-l/16 --precision bf16 --batch 64 --steps 20 --set train.device=cuda |
        sed -n 's/.*"images_per_sec":\([0-9.]*\).*/\1/p' |
        awk -v peak="${PEAK_TFLOPS:-989}" '{ printf "vit-l/16: %.0f images/s, %.1f %% of %s TFLOP/s\n", $1, $1 * 61.7e9 * 6 / (peak * 1e12) * 100, peak }'
}

# From JPEGs on: how busy the GPU is, once a second, and the share of a step that waits for images.
end_to_end() {
    local simmim=$1 runs watch
    runs=$(mktemp -d)
    printf '\n==> pretrain from JPEGs, ViT-B\n'
    nvidia-smi --query-gpu=utilization.gpu --format=csv,noheader,nounits --loop=1 >"$runs/busy" &
    watch=$!
    "$simmim" pretrain --data "${PHOTOS:-samples/photos}" --recipe vit-base --out "$runs/run" --set train.device=cuda \
        --set train.precision=bf16 --set train.batch_size=128 --set train.max_steps=200 --set train.validate_every_epochs=0 --set data.held_out=0 || true
    kill "$watch"
    awk '$1 > 0 { sum += $1; n++ } END { print "GPU busy: " sum / n " % of the seconds in which it did something" }' "$runs/busy"
    tail -n 50 "$runs/run/metrics.jsonl" | sed -n 's/.*"images_per_sec":\([0-9.e+-]*\).*"data_wait":\([0-9.e+-]*\).*/\1 \2/p' |
        awk '{ rate += $1; wait += $2; n++ } END { print rate / n " images/s, " wait / n * 100 " % of a step waited for images" }'
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
    check_two "$folder/simmim"
    speed "$folder/simmim"
    utilisation "$folder/simmim"
    end_to_end "$folder/simmim"
} 2>&1 | tee target/gpu.log
