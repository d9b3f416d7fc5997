#!/usr/bin/env bash
# Fills fuzz/corpus/TARGET with the files that the project's tests and samples hold, and with those of the folders that
# are given. Usage: fuzz/seeds.sh [FOLDER ...]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
corpus=$root/fuzz/corpus
# Larger files slow a fuzzer down more than they teach it.
max_bytes=65536

# Copies a file to the corpus of a target, under the hash of its contents.
seed() {
    local target=$1 file=$2
    mkdir -p "$corpus/$target"
    cp -- "$file" "$corpus/$target/$(sha1sum <"$file" | cut -c 1-16)"
}

target_of() {
    case ${1,,} in
        *.jpg | *.jpeg) echo jpeg ;;
        *.png | *.webp | *.gif | *.bmp) echo "${1##*.}" ;;
        *.tif | *.tiff) echo tiff ;;
        *.tar) echo tar ;;
        *.tar.gz | *.tgz) echo gzip ;;
        *.txt) echo list ;;
        *.csv | *.tsv) echo table ;;
        *.cls | *.json) echo beside ;;
        *.toml) echo config ;;
        *.safetensors) echo safetensors ;;
        *.pth) echo pth ;;
    esac
}

unpacked=$(mktemp -d)
trap 'rm -rf "$unpacked"' EXIT
tar --extract --gzip --directory "$unpacked" --file "$root/crates/simmim-data/tests/golden/jpeg/files.tar.gz"

while IFS= read -r -d '' file; do
    target=$(target_of "$file")
    if [ -n "$target" ]; then seed "$target" "$file"; fi
done < <(find "$unpacked" "$root"/{crates,recipes,samples,golden,fuzz/seeds} "$@" -type f -size "-${max_bytes}c" -print0)

# Descriptions of models. The first byte says which file they are, of three, and beside which of five models they lie.
mkdir -p "$corpus/described"
models=(hf_vit hf_beit hf_swinv2_mim timm_vit timm_swin)
for i in "${!models[@]}"; do
    folder=$root/golden/interop/${models[i]}
    { printf "\\x$(printf %02x $((i * 3)))"; cat "$folder/config.json"; } >"$corpus/described/${models[i]}"
done
printf '\x01{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}' >"$corpus/described/preprocessor"
printf '\x02{"weight_map": {"vit.layernorm.bias": "part.safetensors"}}' >"$corpus/described/index"

for target in "$corpus"/*; do
    printf '%s: %s files\n' "$(basename "$target")" "$(find "$target" -type f | wc -l)"
done
