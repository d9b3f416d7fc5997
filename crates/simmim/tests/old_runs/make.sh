#!/usr/bin/env bash
# Makes the folders beside this file. Usage: make.sh SIMMIM, where SIMMIM is the program of the commit that README.md names.
# Works in /old, because a run remembers where its images lie, and the test puts its own folder in that one's place.
set -euo pipefail

simmim=$(realpath "$1")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
rm -rf /old && mkdir /old && cd /old
python3 "$here/draw.py"

cat >tiny.toml <<'TOML'
[data]
image_size = 16
held_out = 0.2
workers = 1
[model]
variant = "vit-t/4"
width = 8
depth = 1
heads = 2
mlp_ratio = 1.0
drop_path = 0.2
[mask]
cell_px = 4
[train]
epochs = 24
batch_size = 4
warmup_epochs = 1
base_lr = 0.1
threads = 1
keep = 1
save_every_minutes = 0.0001
validate_every_epochs = 4
pictures = 1
TOML
pretrain="pretrain --config tiny.toml --data images/photos --seed 1"
vit=$pretrain
swin="$pretrain --set model.variant=swin-t/2 --set model.depth=unset --set model.depths=[1,1] --set model.heads=1 --set model.window=4
    --set objective.target=clusters --set objective.clusters=8"
labels="finetune --data images/labelled --from whole/vit --val-share 0.34 --seed 1 --set train.epochs=16 --set train.batch_size=4
    --set train.warmup_epochs=1 --set train.threads=1 --set data.workers=1 --set train.keep=1 --set train.save_every_minutes=0.0001
    --set train.validate_every_epochs=4 --set finetune.ema=0.9 --set train.base_lr=0.1"
cat >grid.toml <<'TOML'
recipe = "tiny.toml"
[set]
train.pictures = 0
[grid]
mask.kind = ["random", "square"]
TOML
ablation="ablate ./grid.toml --data images/photos"
lowshot="lowshot --data images/labelled --from whole/vit --shares 1 --seeds 1 --set train.epochs=12 --set train.batch_size=4
    --set train.warmup_epochs=1 --set train.threads=1 --set data.workers=1 --set train.keep=1 --set train.save_every_minutes=0.0001
    --set train.base_lr=0.1 --set data.held_out=0.34"

# stopped FOLDER LOG SIGNAL WORDS...: starts a run, and signals it when the file LOG has ten lines.
stopped() {
    local out=$1 log=$2 signal=$3
    shift 3
    $simmim "$@" --quiet --out "$out" >/dev/null &
    local pid=$!
    until [ "$(cat "$log" 2>/dev/null | wc -l)" -ge 10 ]; do :; done
    kill -s "$signal" "$pid"
    wait "$pid" || true
    echo "$out: stopped after $(wc -l <"$log") records"
}

for name in vit swin labels ablation lowshot; do
    # shellcheck disable=SC2086 # words are split on purpose
    $simmim ${!name} --quiet --out "whole/$name" >/dev/null
done
stopped stopped/vit stopped/vit/metrics.jsonl TERM $vit
stopped stopped/swin stopped/swin/metrics.jsonl KILL $swin
stopped stopped/labels stopped/labels/metrics.jsonl TERM $labels
stopped stopped/ablation "stopped/ablation/runs/mask.kind=square,seed=0/metrics.jsonl" KILL $ablation
stopped stopped/lowshot stopped/lowshot/runs/labels-1-scratch-seed0/metrics.jsonl KILL $lowshot

# What the stopped ones give as they are.
mkdir expected
for name in vit swin; do
    $simmim reconstruct --from "stopped/$name" images/photos --seed 3 --quiet --out "expected/$name.png" >/dev/null
    $simmim embed --from "stopped/$name" --data images/photos --quiet --out "expected/$name.features.safetensors" >/dev/null
done
$simmim evaluate --from stopped/labels --data images/labelled --quiet >expected/labels.scores.json
# What comes of those that were not stopped.
for name in vit swin labels; do
    cp "whole/$name/metrics.jsonl" "expected/$name.jsonl"
    cp "whole/$name/checkpoints/best.safetensors" "expected/$name.best.safetensors"
done
cp whole/ablation/ablation.csv whole/lowshot/lowshot.csv expected/

# What a run goes on from. The rest can be drawn again, and would only be large.
find stopped \( -name events -o -name reconstructions \) -prune -exec rm -r {} +
find stopped -type f \( -name 'step-*' -o -name '.simmim-partial-*' -o -name '*.png' -o -name log.txt -o -name run.lock \) -delete
rm -rf "$here/images" "$here/stopped" "$here/expected"
cp -r images stopped expected "$here"
cp tiny.toml grid.toml "$here/stopped"
