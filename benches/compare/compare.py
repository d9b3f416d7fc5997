#!/usr/bin/env python3
"""Runs simmim and PyTorch in turn on the same cores and writes benchmarks/<machine>.md.

    cargo build --release
    pip install -r benches/compare/requirements.txt
    python benches/compare/compare.py --data FOLDER_OF_CLASS_FOLDERS

A row is measured as ours, eager, compiled, ours, eager, compiled, ... so that a slow minute of the machine hits all alike.
What is compared is the median of the runs; the spread is written beside it, and so is every row that was lost. The page is
written anew after each row. All rows take about two hours on two cores; --rows and --quick make it less.
"""

import argparse
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

# What both programs need to know of a model. `set` are keys for ours that the variant does not give.
VIT_S = dict(family="vit", variant="vit-s/16", patch=16, width=384, depths=[12], heads=6, image_size=224)
VIT_B = dict(VIT_S, variant="vit-b/16", width=768, heads=12)
SWIN_T = dict(
    family="swin", variant="swin-t", patch=4, width=96, depths=[2, 2, 6, 2], heads=3, image_size=192, window=6
)
SWIN_B = dict(SWIN_T, variant="swin-b", width=128, depths=[2, 2, 18, 2], heads=4, batch=8)
SWINV2_T = dict(SWIN_T, family="swinv2", variant="swinv2-t")

STEP_ROWS = {
    f"{name}-{precision}": dict(dict(batch=16), **model, precision=precision)
    for name, model in [
        ("vit-s", VIT_S),
        ("swin-t", SWIN_T),
        ("vit-b", VIT_B),
        ("swin-b", SWIN_B),
        ("swinv2-t", SWINV2_T),
        ("vit-s-finetune", dict(VIT_S, task="finetune")),
        ("vit-s-embed", dict(VIT_S, task="embed")),
    ]
    for precision in ["fp32", "bf16"]
}
VIT_L = dict(VIT_S, variant="vit-l/16", width=1024, depths=[24], heads=16)
SWINV2_B = dict(SWIN_B, family="swinv2", variant="swinv2-b")
# On a GPU, which is idle with batches of a few cores.
GPU_ROWS = {
    f"gpu-{name}": dict(model, precision="bf16")
    for name, model in [
        ("vit-s", dict(VIT_S, batch=256)),
        ("vit-b", dict(VIT_B, batch=128)),
        ("vit-l", dict(VIT_L, batch=64)),
        ("swin-t", dict(SWIN_T, batch=256)),
        ("swin-b", dict(SWIN_B, batch=128)),
        ("swinv2-b", dict(SWINV2_B, batch=128)),
    ]
}


def of_width(width):
    heads = width // 64
    return dict(VIT_S, width=width, heads=heads, set=[f"model.width={width}", f"model.heads={heads}"])


# What grows, and the rows by its size; ViT-S with 196 tokens, batch 16 and bf16 where nothing else is said.
GROWTH = {
    "batch": {n: dict(VIT_S, precision="bf16", batch=n) for n in [1, 4, 16, 64, 128]},
    # Cells of a patch: larger ones do not divide 112 px. Fewer images where there are many tokens, so that the peer has room.
    "tokens": {
        n: dict(VIT_S, precision="bf16", batch=batch, image_size=px, set=["mask.cell_px=16"])
        for n, px, batch in [(49, 112, 16), (196, 224, 16), (784, 448, 16), (3136, 896, 4)]
    },
    "width": {n: dict(of_width(n), precision="bf16", batch=16) for n in [192, 384, 768, 1024]},
}
OTHER_ROWS = ["loader", "pack", "adamw"]
# Images of a pass of the loader, at least: fewer leave half of the workers idle at its end.
LOADER_IMAGES = 2000
# Of large photographs fewer, as each takes so long.
LARGE_IMAGES = 256


def all_rows():
    return list(STEP_ROWS) + OTHER_ROWS + [f"growth-{what}" for what in GROWTH] + list(GPU_ROWS)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", metavar="ROW", help=f"only these, of: {', '.join(all_rows())}")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each program and row [3]")
    parser.add_argument("--steps", type=int, default=6, help="steps that a run times [6]")
    parser.add_argument("--quick", action="store_true", help="one round of two steps, no compiling: does it work?")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="what both programs compute on [cpu]")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of every program [one for each core]")
    parser.add_argument("--data", help="folder of class folders, or a .tar of one, for the row `loader`")
    parser.add_argument("--photographs", help="folder of folders of large photographs, for the row `pack`")
    parser.add_argument("--size", type=int, default=192, help="of the loader's crops, in pixels [192]")
    parser.add_argument("--simmim", default=str(ROOT / "target/release/simmim"), help="the program [target/release/simmim]")
    parser.add_argument("--python", default=sys.executable, help="with PyTorch [this one]")
    parser.add_argument("--machine", help="name of the machine [that of its processor]")
    parser.add_argument("--out", help="the page to write [benchmarks/<machine>.md]")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.steps, options.no_compile = 1, 2, True
    of_device = list(GPU_ROWS) if options.device == "cuda" else [row for row in all_rows() if row not in GPU_ROWS]
    options.rows = options.rows or of_device
    unknown = [row for row in options.rows if row not in all_rows()]
    if unknown:
        parser.error(f"no row is called {', '.join(unknown)}; there are {', '.join(all_rows())}")
    for row, option in [("loader", "data"), ("pack", "photographs")]:
        if row in options.rows and not getattr(options, option):
            print(f"row {row} is left out: no --{option}", file=sys.stderr)
            options.rows.remove(row)
    return options


class Failed(Exception):
    """A program did not end well; the message is the last thing that it said."""


def run(words):
    """The lines of JSON that a program prints."""
    ended = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        said = ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"]
        raise Failed(said[-1])
    return [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]


class UsedMemory:
    """The most memory of the first GPU that is used while the context lasts, beyond what was before."""

    def __enter__(self):
        self.before = self.most = self.used()
        self.ended = threading.Event()
        self.watcher = threading.Thread(target=self.watch)
        self.watcher.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.watcher.join()

    def watch(self):
        while not self.ended.wait(0.2):
            self.most = max(self.most, self.used())

    def used(self):
        query = ["nvidia-smi", "--id=0", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        return int(subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0])

    def gib(self):
        return (self.most - self.before) / 1024


def step(options, words):
    """What a program says of a step. On a GPU its memory counts, in place of the process's."""
    if options.device == "cpu":
        return run(words)[-1]
    with UsedMemory() as memory:
        found = run(words)[-1]
    return {**found, "peak_rss_gib": memory.gib()}


def our_step(options, row):
    words = [options.simmim, "bench", "step", "--task", row.get("task", "pretrain"), "--variant", row["variant"]]
    words += ["--image-size", row["image_size"]]
    words += ["--precision", row["precision"], "--batch", row["batch"], "--steps", options.steps]
    words += ["--threads", options.threads, "--set", f"train.device={options.device}"]
    if "window" in row:
        words += ["--window", row["window"]]
    for key in row.get("set", []):
        words += ["--set", key]
    return step(options, words)


def torch_step(options, row, is_compiled):
    words = [options.python, HERE / "torch_step.py", "--steps", options.steps, "--threads", options.threads]
    words += ["--device", options.device]
    for key in ["task", "family", "image_size", "patch", "width", "heads", "window", "precision", "batch"]:
        if key in row:
            words += [f"--{key.replace('_', '-')}", row[key]]
    words += ["--depths", *row["depths"]] + (["--compile"] if is_compiled else [])
    return step(options, words)


def in_turn(options, programs):
    """Runs named programs in turn; the results of each, or the message of the first failure."""
    results = {name: [] for name in programs}
    for number in range(options.rounds):
        for name, program in programs.items():
            if isinstance(results[name], str):
                continue
            try:
                found = program()
                results[name].append(found)
                print(f"  round {number + 1}: {name:<10} {found['images_per_sec']:8.2f} images/s", file=sys.stderr)
            except Failed as failure:
                results[name] = str(failure)
                print(f"  {name} failed: {failure}", file=sys.stderr)
    return results


def measure_step(options, row, may_compile=True):
    programs = {"ours": lambda: our_step(options, row), "eager": lambda: torch_step(options, row, False)}
    if may_compile and not options.no_compile:
        programs["compiled"] = lambda: torch_step(options, row, True)
    return in_turn(options, programs)


def many_times(folder, to, n_images=LOADER_IMAGES):
    """Links to the images of a folder of class folders, under as many names as make a pass long enough."""
    images = sorted(path for path in Path(folder).glob("*/*") if path.is_file())
    for number in range(-(-n_images // len(images))):
        for image in images:
            link = Path(to) / image.parent.name / f"{number:03}-{image.name}"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(image.resolve())
    return to


def loader_programs(options, folder):
    ours = [options.simmim, "bench", "loader", "--data", folder, "--size", options.size, "--workers", options.threads]
    theirs = [options.python, HERE / "torch_loader.py", "--data", folder, "--size", options.size]
    theirs += ["--workers", options.threads]
    return {"ours": lambda: run(ours)[-1], "torchvision": lambda: run(theirs)[-1]}


def unpack(archive, folder):
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")


def measure_loader(options):
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as many:
        if Path(options.data).is_dir():
            return in_turn(options, loader_programs(options, many_times(options.data, many)))
        # One class is enough for torchvision, which wants at least that.
        unpack(options.data, Path(folder) / "all")
        return in_turn(options, loader_programs(options, many_times(folder, many)))


def measure_pack(options):
    """Large photographs as they are, and the same packed. torchvision reads the packed files, too."""
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        large = many_times(options.photographs, folder / "large", LARGE_IMAGES)
        results["before"] = in_turn(options, loader_programs(options, large))
        packing = [options.simmim, "pack", "--data", options.photographs, "--out", folder / "shards"]
        begun = time.perf_counter()
        results["packed"] = run([*packing, "--threads", options.threads])[-1]
        results["secs"] = time.perf_counter() - begun
        # Members keep the names of their class folders.
        for shard in sorted((folder / "shards").glob("*.tar")):
            unpack(shard, folder / "files")
        many = many_times(folder / "files", folder / "many")
        results["after"] = in_turn(options, loader_programs(options, many))
    return results


def measure_adamw(options):
    words = [options.simmim, "bench", "kernels", "--threads", options.threads, "--filter"]
    return {name: [run(words + [name])[-1] for _ in range(options.rounds)] for name in ["adamw", "triad"]}


def middle(results, key="images_per_sec"):
    """The median, or None where a program failed or was not run."""
    if not results or isinstance(results, str):
        return None
    return statistics.median(result[key] for result in results)


def spread(results):
    """The median with the least and the most, or why there is none."""
    if isinstance(results, str):
        return f"failed: {results[:60]}"
    if not results:
        return "not run"
    values = [result["images_per_sec"] for result in results]
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def verdict(ratio, wins_above_one=True):
    if ratio is None:
        return "-"
    is_won = ratio >= 1.0 if wins_above_one else ratio <= 1.0
    return f"{ratio:.2f}" if is_won else f"{ratio:.2f}, lost"


def ratio_to_best(results, rivals, key="images_per_sec", best=max):
    ours = middle(results.get("ours"), key)
    theirs = [value for value in (middle(results.get(rival), key) for rival in rivals) if value is not None]
    return ours / best(theirs) if ours is not None and theirs else None


RIVALS = ["eager", "compiled"]


def step_table(measured):
    lines = [
        "## One training step",
        "",
        "Forward, backward, clip and AdamW at batch 16 (Swin-B: 8; on a GPU 256, 128 or 64 by size), in images a second: the median of the runs,",
        "the least and the most. The steps are of pre-training; `finetune` has 1000 classes, `embed` is forward alone to one vector an image.",
        "The ratio is to the better of the two; memory is the most that the process held, on a GPU the most of its memory that was used, its ratio to the lesser of the two.",
        "",
        "| step | ours | eager | compiled | ratio | memory, GiB | eager | compiled | ratio |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, results in measured.items():
        speeds = [spread(results.get(program)) for program in ["ours", *RIVALS]]
        memory = [middle(results.get(program), "peak_rss_gib") for program in ["ours", *RIVALS]]
        memory = ["-" if value is None else f"{value:.2f}" for value in memory]
        ratio = verdict(ratio_to_best(results, RIVALS))
        of_memory = verdict(ratio_to_best(results, RIVALS, "peak_rss_gib", min), wins_above_one=False)
        name = name.replace("-fp32", ", fp32").replace("-bf16", ", bf16").replace("gpu-", "")
        lines.append(f"| {name} | {' | '.join(speeds)} | {ratio} | {' | '.join(memory)} | {of_memory} |")
    return lines


def loader_table(results, options):
    ratio = verdict(ratio_to_best(results, ["torchvision"]))
    return [
        "## Input pipeline",
        "",
        f"From files to normalised batches of 64 crops of {options.size} px, {options.threads} workers, best of three passes of",
        f"{LOADER_IMAGES} images or more (the same ones again and again), in images a second.",
        "",
        "| ours | torchvision | ratio |",
        "|---|---|---|",
        f"| {spread(results['ours'])} | {spread(results['torchvision'])} | {ratio} |",
    ]


def pack_table(results, options):
    counts, n = results["packed"]["counts"], results["packed"]["n_images"]
    lines = [
        "## Large photographs, before and after `simmim pack`",
        "",
        f"{n} photographs, {counts['resized']} of which are made smaller. From files to normalised batches of 64 crops of {options.size} px,",
        f"{options.threads} workers, best of three passes, in images a second. torchvision reads the packed files, too.",
        f"Packing took {results['secs']:.1f} s, {n / results['secs']:.1f} images a second, to {results['packed']['n_bytes'] / n / 1e3:.0f} KB an image.",
        "",
        "| photographs | ours | torchvision | ratio |",
        "|---|---|---|---|",
    ]
    for name, key in [("as they are", "before"), ("packed", "after")]:
        ratio = verdict(ratio_to_best(results[key], ["torchvision"]))
        lines.append(f"| {name} | {spread(results[key]['ours'])} | {spread(results[key]['torchvision'])} | {ratio} |")
    return lines


def adamw_table(results):
    adamw, triad = (results[name][0] for name in ["adamw", "triad"])
    secs = middle(results["adamw"], "secs")
    rates = [middle(results[name], "gbs") for name in ["adamw", "triad"]]
    return [
        "## AdamW",
        "",
        f"One step with the clip's norm for {int(adamw['shape']) / 1e6:.0f} million parameters against a stream triad (arrays of",
        f"{int(triad['shape']) >> 20} Mi values, two reads and a write counted).",
        "",
        "| ms | AdamW, GB/s | triad, GB/s | times the triad's time for as many bytes |",
        "|---|---|---|---|",
        f"| {secs * 1e3:.0f} | {rates[0]:.1f} | {rates[1]:.1f} | {rates[1] / rates[0]:.2f} |",
    ]


def growth_table(what, measured):
    lines = [
        f"## Cost by {what}",
        "",
        "ViT of 12 blocks, bf16; 196 tokens, width 384, batch 16 (4 with 3136 tokens) but for what grows. Images a second.",
        "",
        f"| {what} | ours | eager | ratio | ours, ms an image | times the row above |",
        "|---|---|---|---|---|---|",
    ]
    before = None
    for size, results in measured.items():
        ratio = verdict(ratio_to_best(results, ["eager"]))
        ours = middle(results.get("ours"))
        cost = None if ours is None else 1e3 / ours
        growth = "-" if before is None or cost is None else f"{cost / before:.2f}"
        shown = "-" if cost is None else f"{cost:.1f}"
        lines.append(f"| {size} | {spread(results['ours'])} | {spread(results['eager'])} | {ratio} | {shown} | {growth} |")
        before = cost
    return lines


def first_line(*words):
    try:
        ended = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
        return ended.stdout.strip().splitlines()[0]
    except (OSError, IndexError):
        return "unknown"


def processor():
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        name = re.search(r"^model name\s*:\s*(.*)$", text, re.MULTILINE)
        family = [re.search(rf"^{key}\s*:\s*(\d+)$", text, re.MULTILINE) for key in ["cpu family", "model"]]
        numbers = ", ".join(f"{key} {found[1]}" for key, found in zip(["family", "model"], family) if found)
        return f"{name[1]} ({numbers})" if name else platform.processor()
    except OSError:
        return platform.processor() or platform.machine()


def memory_gib():
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (ValueError, OSError):
        return "unknown"


def gpu():
    return first_line("nvidia-smi", "--id=0", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")


def about(options):
    code = "import torch, transformers as t; print(torch.__version__ + ', transformers ' + t.__version__)"
    has_changes = "" if first_line("git", "status", "--porcelain", "--untracked-files=no") == "unknown" else ", with changes"
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    lines = [
        ("machine", f"{processor()}, {os.cpu_count()} cores, {memory_gib()} of memory"),
        *([("GPU", gpu())] if options.device == "cuda" else []),
        ("system", f"{platform.system()} {platform.release()}"),
        ("simmim", f"{first_line(options.simmim, '--version')}, commit {first_line('git', 'rev-parse', '--short', 'HEAD')}{has_changes}"),
        ("rustc", first_line("rustc", "--version")),
        ("PyTorch", first_line(options.python, "-c", code)),
        ("threads", str(options.threads)),
        ("runs", f"{options.rounds} of each program and row, in turn; {options.steps} steps timed after 2"),
        ("date", datetime.date.today().isoformat()),
        ("load before", load),
    ]
    return [f"- {name}: {value}" for name, value in lines]


def write(options, header, sections):
    device = gpu().split(",")[0] if options.device == "cuda" else f"{processor().split('(')[0]}-{os.cpu_count()}-cores"
    name = options.machine or re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    path = Path(options.out or ROOT / "benchmarks" / f"{name}.md")
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [[f"# simmim and PyTorch on {name}", "", "Written by `benches/compare/compare.py`.", ""] + header, *sections]
    path.write_text("\n\n".join("\n".join(part) for part in parts) + "\n", encoding="utf-8")
    return path


def main():
    options = parse()
    header = about(options)
    steps, sections, path = {}, {}, None
    for row in options.rows:
        print(row, file=sys.stderr)
        if row in STEP_ROWS or row in GPU_ROWS:
            steps[row] = measure_step(options, {**STEP_ROWS, **GPU_ROWS}[row])
            sections["steps"] = step_table(steps)
        elif row == "loader":
            sections[row] = loader_table(measure_loader(options), options)
        elif row == "pack":
            sections[row] = pack_table(measure_pack(options), options)
        elif row == "adamw":
            sections[row] = adamw_table(measure_adamw(options))
        else:
            what, grown = row.removeprefix("growth-"), {}
            for size, model in GROWTH[what].items():
                print(f" {size}", file=sys.stderr)
                grown[size] = measure_step(options, model, may_compile=False)
            sections[row] = growth_table(what, grown)
        path = write(options, header, sections.values())
    print(path)


if __name__ == "__main__":
    main()
