#!/usr/bin/env python3
"""Measures how several processes train together, beside PyTorch, and writes benchmarks/scaling-<machine>.md.

    cargo build --release
    python benches/compare/scaling.py                 the ranks of this machine, ours and PyTorch's in turn
    sudo python benches/compare/scaling.py --hosts    two machines as well: network namespaces, with slower and slower links

Ours is `simmim bench scaling` by mpirun, theirs DistributedDataParallel over Gloo by torchrun, on the same cores: ours, theirs, ours,
theirs, ... What is compared is the median of the runs. With --hosts the links are limited by `tc`, and what was measured stands
beside what the model of cost in this file (`predict`) says; from the same model come the figures for more machines than there are,
which are calculations. The page is written anew after each row. --quick shows that everything works.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import compare

VIT_S, VIT_B = compare.VIT_S, compare.VIT_B
# Images of a step over all ranks, by model; two machines get the middle one.
ROWS = {"vit-s": dict(VIT_S, batches=[16, 32, 64]), "vit-b": dict(VIT_B, batches=[16])}
RANKS = [1, 2, 4]
# Of a link between two machines, in Mbit/s.
LIMITS = [2000, 1000, 500]
# Of TCP over Ethernet: what is left of a packet for data.
GOODPUT = 1448 / 1514
# Machines of the calculations, and the links that they are given: Gbit/s, and microseconds to the next machine.
MANY_HOSTS, LINKS = [8, 64, 512], [(10, 50), (100, 10)]
NET = "10.78.0."
AGENT = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
host=$1; shift
exec ip netns exec PREFIX${host##*.} unshare --uts sh -c "hostname node${host##*.}; $*"
"""


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), help="only these models")
    parser.add_argument("--hosts", action="store_true", help="measure two network namespaces as well (as root)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each program and row [3]")
    parser.add_argument("--steps", type=int, default=6, help="steps that a run times [6]")
    parser.add_argument("--quick", action="store_true", help="one round of one step of small batches: does it work?")
    parser.add_argument("--simmim", default=str(compare.ROOT / "target/release/simmim"), help="the program [target/release/simmim]")
    parser.add_argument("--python", default=sys.executable, help="with PyTorch [this one]")
    parser.add_argument("--mpirun", default="mpirun", help="of Open MPI [mpirun]")
    parser.add_argument("--out", help="the page to write [benchmarks/scaling-<machine>.md]")
    options = parser.parse_args()
    options.device, options.threads = "cpu", os.cpu_count()
    if options.quick:
        options.rounds, options.steps = 1, 1
    return options


def threads_of(n_ranks):
    return max(1, os.cpu_count() // n_ranks)


def environment():
    """mpirun refuses root and more ranks than cores unless it is told that both are meant."""
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_rmaps_base_oversubscribe": "1"}
    os.environ.update({**allowed, "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe", "UCX_TLS": "tcp,sm,self"})


def our_words(options, row, batch, n_threads):
    words = [options.simmim, "bench", "scaling", "--variant", row["variant"], "--image-size", row["image_size"]]
    return [*words, "--precision", "bf16", "--batch", batch, "--steps", options.steps, "--threads", n_threads]


def ours(options, row, batch, n_ranks):
    words = our_words(options, row, batch, threads_of(n_ranks))
    launch = [options.mpirun, "-n", n_ranks, "--bind-to", "none"] if n_ranks > 1 else []
    return compare.run([*launch, *words])[-1]


def theirs(options, row, batch, n_ranks):
    words = [options.python, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", n_ranks, compare.HERE / "torch_step.py"]
    words += ["--steps", options.steps, "--threads", threads_of(n_ranks), "--precision", "bf16", "--batch", batch // n_ranks]
    for key in ["family", "image_size", "patch", "width", "heads"]:
        words += [f"--{key.replace('_', '-')}", row[key]]
    return compare.run([*words, "--depths", *row["depths"]])[-1]


def measure_row(options, row, batch, n_ranks):
    programs = {"ours": lambda: ours(options, row, batch, n_ranks), "ddp": lambda: theirs(options, row, batch, n_ranks)}
    return compare.in_turn(options, programs)


class Hosts:
    """Two machines, for each of which a network namespace stands, on one switch."""

    def __init__(self, folder):
        self.prefix = f"b{os.getpid()}n"
        self.agent = Path(folder) / "agent.sh"
        self.agent.write_text(AGENT.replace("PREFIX", self.prefix), encoding="utf-8")
        self.agent.chmod(0o755)

    def __enter__(self):
        self.ip(f"netns add {self.prefix}0")
        self.ip(f"-n {self.prefix}0 link add bridge type bridge")
        self.ip(f"-n {self.prefix}0 link set bridge up")
        for host in [1, 2]:
            name = f"{self.prefix}{host}"
            self.ip(f"netns add {name}")
            self.ip(f"-n {self.prefix}0 link add port{host} type veth peer name eth0 netns {name}")
            self.ip(f"-n {self.prefix}0 link set port{host} master bridge up")
            self.ip(f"-n {name} addr add {NET}{host}/24 dev eth0")
            self.ip(f"-n {name} link set eth0 up")
            self.ip(f"-n {name} link set lo up")
        return self

    def __exit__(self, *_):
        for host in [0, 1, 2]:
            subprocess.run(["ip", "netns", "del", f"{self.prefix}{host}"], check=False)

    @staticmethod
    def ip(words):
        subprocess.run(["ip", *words.split()], check=True)

    def limit(self, mbit):
        """Limits what each machine sends; None takes the limit away."""
        for host in [1, 2]:
            tc = ["ip", "netns", "exec", f"{self.prefix}{host}", "tc", "qdisc"]
            subprocess.run([*tc, "del", "dev", "eth0", "root"], check=False, stderr=subprocess.DEVNULL)
            if mbit is not None:
                # Ten milliseconds at once: less than the kernel's clock tells apart would slow it down further.
                burst = max(32_000, int(mbit * 1e6 / 8 / 100))
                words = f"add dev eth0 root tbf rate {mbit}mbit burst {burst} latency 400ms"
                subprocess.run([*tc, *words.split()], check=True)

    def run(self, options, words):
        launch = ["ip", "netns", "exec", f"{self.prefix}1", "unshare", "--uts", "sh", "-c", 'hostname node1; exec "$@"', "sh"]
        launch += [options.mpirun, "--host", f"{NET}1,{NET}2", "-n", 2, "--bind-to", "none", "--mca", "plm_rsh_agent", self.agent]
        launch += ["--mca", "btl", "tcp,self", "--mca", "pml", "ob1"]
        for what in ["btl", "oob"]:
            launch += ["--mca", f"{what}_tcp_if_include", f"{NET}0/24"]
        return compare.run([*launch, *words])[-1]


def measure_hosts(options, row, batch):
    """Steps of two machines of one thread each, by the limit of their links; None for no limit."""
    measured = {limit: [] for limit in [None, *LIMITS]}
    words = our_words(options, row, batch, 1)
    with tempfile.TemporaryDirectory() as folder, Hosts(folder) as hosts:
        for number in range(options.rounds):
            for limit, found in measured.items():
                hosts.limit(limit)
                found.append(hosts.run(options, words))
                print(f"  round {number + 1}: {limit} Mbit/s: efficiency {found[-1]['efficiency']:.2f}", file=sys.stderr)
    return measured


def adamw_secs(options, n_parameters, n_threads):
    found = compare.run([options.simmim, "bench", "kernels", "--filter", "adamw", "--threads", n_threads])[-1]
    return found["secs"] * n_parameters / int(found["shape"])


class Cost:
    """What a step costs, from the measured steps of two machines without a limit.

    A step is a forward pass, a backward pass of twice its length, and AdamW. Gradients are complete in equal portions over the
    backward pass; a bucket travels when it is full and the one before it has arrived. It takes the time of its bytes on the link,
    2 (N - 1) / N of its size each way, or what the processor takes for as many bytes, if that is longer, since one piece is handled
    while another is on its way; and as many delays. What the processor takes is how long a bucket travels where there is no limit.
    Handling bytes takes time from the backward pass (`lost`), by as much as a step of two machines without a limit is longer.
    """

    def __init__(self, unlimited, optimiser_secs):
        def middle(key):
            return statistics.median(found[key] for found in unlimited)

        self.alone = middle("alone_secs")
        self.n_bytes = 4 * unlimited[0]["n_parameters"]
        self.bucket_bytes = unlimited[0]["bucket_mb"] * 2**20
        self.handling = middle("exchange_secs") / self.n_bytes
        self.optimiser = min(optimiser_secs, 0.5 * self.alone)
        self.lost = 0.0
        self.lost = max(0.0, middle("step_secs") - self.step(n_ranks=2))

    @staticmethod
    def sent(n_bytes, n_ranks):
        """Bytes that each machine sends, and receives, where so many are summed: a part to each of the others, and its sums to each."""
        return 2 * n_bytes * (n_ranks - 1) / n_ranks

    def bucket(self, n_bytes, n_ranks, gbit=None, delay_us=0.0):
        """Seconds that a bucket travels."""
        # Two ranks, of which handling was measured, send what they sum once.
        sent = self.sent(n_bytes, n_ranks)
        on_link = 0.0 if gbit is None else sent / (gbit * 1e9 / 8 * GOODPUT)
        return max(on_link, self.handling * sent) + 2 * (n_ranks - 1) * delay_us * 1e-6

    def step(self, n_ranks, gbit=None, delay_us=0.0):
        """Seconds of a step."""
        computed = self.alone - self.optimiser
        forward = computed / 3
        backward = 2 * computed / 3 + self.lost * self.sent(1, n_ranks)
        done, arrived = 0, 0.0
        while done < self.n_bytes:
            size = min(self.bucket_bytes, self.n_bytes - done)
            done += size
            ready = forward + backward * done / self.n_bytes
            arrived = max(arrived, ready) + self.bucket(size, n_ranks, gbit, delay_us)
        return arrived + self.optimiser

    def efficiency(self, *args, **kwargs):
        return self.alone / self.step(*args, **kwargs)


def percent(value):
    return "-" if value is None else f"{100 * value:.0f} %"


def ranks_table(name, measured):
    lines = [
        f"## {name} on the cores of one machine",
        "",
        "Images a second: the median of the runs, the least and the most. A step is one of pre-training, in bf16, of that many images over all ranks; strong is the speed against one process on all cores with as many",
        "images, weak against one with as many images a rank. Exchange is how long gradients travel in a step, overlap the share of that time in which the backward pass goes on, ratio ours to PyTorch's.",
        "",
        "| ranks | threads of each | images | ours | PyTorch DDP | ratio | strong, ours | strong, DDP | weak, ours | weak, DDP | exchange, s | overlap |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]

    def against(key, program):
        own, one = (compare.middle(measured.get(at, {}).get(program)) for at in [key[0], key[1]])
        return None if own is None or one is None else own / one

    for n_ranks, batch in measured:
        results = measured[n_ranks, batch]
        cells = [n_ranks, threads_of(n_ranks), batch, compare.spread(results["ours"]), compare.spread(results["ddp"])]
        cells.append(compare.verdict(compare.ratio_to_best(results, ["ddp"])))
        for base in [(1, batch), (1, batch // n_ranks)]:
            cells += [percent(against(((n_ranks, batch), base), program)) for program in ["ours", "ddp"]]
        is_shown = n_ranks > 1 and isinstance(results["ours"], list)
        exchange = compare.middle(results["ours"], "exchange_secs") if is_shown else None
        cells += ["-" if exchange is None else f"{exchange:.3f}"]
        cells += [percent(compare.middle(results["ours"], "overlap") if is_shown else None)]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    if os.cpu_count() < max(RANKS):
        lines += ["", f"More ranks than the {os.cpu_count()} cores share them, and show what that costs, not how ranks scale."]
    return lines


def limits_table(name, measured, cost):
    lines = [
        f"## {name} on two machines, by the speed of the link",
        "",
        "Two network namespaces of one thread each; `tc` (tbf) limits what each of them sends. Efficiency is the share of a step in which nobody waits: its time without exchange by its time with it. The model has its",
        "figures from the row without a limit, and its sizes from the network; nothing in it is fitted to the others.",
        "",
        "| link | step, s | exchange, s | overlap | efficiency | by the model | off by |",
        "|---|---|---|---|---|---|---|",
    ]
    for limit, found in measured.items():
        def middle(key):
            return statistics.median(run[key] for run in found if run[key] is not None)

        gbit = None if limit is None else limit / 1000
        own, model = middle("efficiency"), cost.efficiency(n_ranks=2, gbit=gbit)
        link = "no limit" if limit is None else f"{limit} Mbit/s"
        lines.append(
            f"| {link} | {middle('step_secs'):.2f} | {middle('exchange_secs'):.2f} | {percent(middle('overlap'))} "
            f"| {percent(own)} | {percent(model)} | {100 * (model / own - 1):+.0f} % |"
        )
    return lines


def calculated_table(name, cost, batch):
    lines = [
        f"## {name} on many machines: a calculation",
        "",
        f"Nothing here was measured: these are what the model says of machines like this one ({batch // 2} images of a step on each, {cost.alone:.2f} s without exchange, of one thread), with links of that speed and delay.",
        "A faster machine computes a step in less time and waits for a larger share of it.",
        "",
        "| machines | " + " | ".join(f"{gbit} Gbit/s, {delay} µs" for gbit, delay in LINKS) + " |",
        "|---|" + "---|" * len(LINKS),
    ]
    for n_hosts in MANY_HOSTS:
        cells = [percent(cost.efficiency(n_ranks=n_hosts, gbit=gbit, delay_us=delay)) for gbit, delay in LINKS]
        lines.append(f"| {n_hosts} | " + " | ".join(cells) + " |")
    return lines


MODEL = [
    "## The model of cost",
    "",
    *(line.strip() for line in Cost.__doc__.strip().splitlines()),
    "",
    "In formulas, for N machines and a bucket of b bytes on a link of B bytes a second and delay L: s(b) = 2 (N - 1) / N · b bytes are sent, in x(b) = max(s(b) / B, h · s(b)) + 2 (N - 1) · L. Bucket i begins at the later",
    "of r(i), when its gradients are complete, and the arrival of the bucket before it; the step ends with the last arrival and AdamW. `Cost` in `benches/compare/scaling.py` is the model.",
]


def write(options, header, sections):
    name = re.sub(r"[^a-z0-9]+", "-", f"{compare.processor().split('(')[0]}-{os.cpu_count()}-cores".lower()).strip("-")
    path = Path(options.out or compare.ROOT / "benchmarks" / f"scaling-{name}.md")
    path.parent.mkdir(parents=True, exist_ok=True)
    head = ["# Several processes, ours and PyTorch's", "", "Written by `benches/compare/scaling.py`.", "", *header]
    path.write_text("\n\n".join("\n".join(part) for part in [head, *sections]) + "\n", encoding="utf-8")
    return path


def main():
    options = parse()
    environment()
    header, sections, path = compare.about(options), {}, None
    launcher = compare.first_line(options.mpirun, "--version")
    header.append(f"- MPI: {launcher}")
    for name in options.rows:
        row, measured = ROWS[name], {}
        batches = [4] if options.quick else row["batches"]
        for batch in batches:
            for n_ranks in RANKS:
                print(f"{name}, {batch} images, {n_ranks} ranks", file=sys.stderr)
                measured[n_ranks, batch] = measure_row(options, row, batch, n_ranks)
                sections[name] = ranks_table(name, measured)
                path = write(options, header, sections.values())
    for name in options.rows if options.hosts else []:
        row = ROWS[name]
        batch = 4 if options.quick else row["batches"][len(row["batches"]) // 2]
        print(f"{name}, {batch} images, two machines", file=sys.stderr)
        measured = measure_hosts(options, row, batch)
        optimiser_secs = adamw_secs(options, measured[None][0]["n_parameters"], 1)
        cost = Cost(measured[None], optimiser_secs)
        sections[f"{name}-limits"] = limits_table(name, measured, cost)
        sections[f"{name}-many"] = calculated_table(name, cost, batch)
        sections["model"] = sections.pop("model", MODEL)
        path = write(options, header, sections.values())
    print(path)


if __name__ == "__main__":
    main()
