"""Compiles all kernels to machine code, which ships in the program.

    python3 -m venv VENV && VENV/bin/pip install nvidia-cuda-nvrtc==13.5.37
    VENV/bin/python crates/simmim-cuda/kernels/compile.py

Needs no GPU and no driver. Stops when a kernel spills registers, takes more of them or of shared memory than below, or has no
code. The same sources and version give the same bytes; `machine-code/SOURCES` says which sources they were, and a test compares.
"""

import ctypes
import glob
import hashlib
import os
import re
import sys
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
# A100; RTX 30; RTX 40 and L4; H100 and H200, with their own instructions.
CHIPS = ["sm_80", "sm_86", "sm_89", "sm_90a"]
# So many let a multiprocessor hold three blocks of 256 threads, or more of smaller ones.
MOST_REGISTERS = 80
# Of kernels that hold sums of products in them: two blocks of 128 threads.
MOST_WITH_SUMS = 255
# Bytes of static shared memory of a block.
MOST_SHARED = 12 << 10
OPTIONS = ["--std=c++17", "--ptxas-options=-v", "--fmad=true"]


def library():
    found = [path for folder in sys.path for path in glob.glob(f"{folder}/nvidia/*/lib/libnvrtc.so.*")]
    if not found:
        sys.exit("no NVRTC: pip install nvidia-cuda-nvrtc==13.5.37")
    # It looks for its builtins beside itself only once they are loaded.
    for builtins in glob.glob(os.path.dirname(found[0]) + "/libnvrtc-builtins.so.*"):
        ctypes.CDLL(builtins)
    return ctypes.CDLL(found[0])


def sources():
    """The texts that a compilation sees, by name."""
    names = sorted(os.path.basename(path) for pattern in ("*.cu", "*.cuh") for path in glob.glob(f"{HERE}/{pattern}"))
    return {name: open(f"{HERE}/{name}", "rb").read() for name in names}


def digest(texts):
    """Of names and texts, in order; src/machine_code.rs computes the same."""
    crc = 0
    for name, text in texts.items():
        crc = zlib.crc32(text, zlib.crc32(name.encode(), crc))
    return f"{crc:08x} {sum(map(len, texts.values()))}"


def compile_for(nvrtc, chip, texts):
    """The machine code, and what the assembler said of it."""
    headers = {name: text for name, text in texts.items() if name != "all.cu"}
    strings = lambda items: (ctypes.c_char_p * len(items))(*items)
    program = ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(
        ctypes.byref(program), texts["all.cu"], b"all.cu", len(headers),
        strings(list(headers.values())), strings([name.encode() for name in headers]),
    )
    options = [f"--gpu-architecture={chip}", *OPTIONS]
    failed = nvrtc.nvrtcCompileProgram(program, len(options), strings([option.encode() for option in options]))
    log = take(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program).decode().rstrip("\0")
    if failed:
        sys.exit(f"{chip}: {log}")
    return take(nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN, program), log


def take(size_of, get, program):
    size = ctypes.c_size_t()
    size_of(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    get(program, text)
    return text.raw


def check(chip, log, kernels):
    """Registers, shared memory and spills of each kernel, from the assembler's report."""
    worst = {}
    for name, report in re.findall(r"Compiling entry function '(\w+)' for.*?\n(.*?)(?=ptxas info\s+: Compiling|\Z)", log, re.S):
        spills = [int(n) for n in re.findall(r"(\d+) bytes (?:spill|stack)", report)]
        registers = int(re.search(r"Used (\d+) registers", report)[1])
        shared = int((re.search(r"(\d+) bytes smem", report) or [0, 0])[1])
        worst[name] = registers
        most = MOST_WITH_SUMS if name.startswith("attention_mma") else MOST_REGISTERS
        if any(spills) or registers > most or shared > MOST_SHARED:
            sys.exit(f"{chip}: {name} has {registers} registers, {shared} bytes of shared memory, spills {spills}")
    missing = set(kernels) - set(worst)
    if missing:
        sys.exit(f"{chip}: no code for {sorted(missing)}")
    return worst


def main():
    nvrtc, texts = library(), sources()
    target = f"{HERE}/machine-code"
    os.makedirs(target, exist_ok=True)
    for chip in CHIPS:
        code, log = compile_for(nvrtc, chip, texts)
        # The names are what the assembler met; the driver's fake knows them by the same macro.
        kernels = re.findall(r"Compiling entry function '(\w+)'", log)
        worst = check(chip, log, kernels)
        name, registers = max(worst.items(), key=lambda item: item[1])
        packed = zlib.compress(code, 9)
        with open(f"{target}/{chip}.cubin.zlib", "wb") as file:
            file.write(packed)
        print(f"{chip}: {len(kernels)} kernels, {len(code)} bytes, {len(packed)} packed; {name} has most registers, {registers}")
    with open(f"{target}/SOURCES", "w") as file:
        file.write(digest(texts) + "\n")


if __name__ == "__main__":
    main()
