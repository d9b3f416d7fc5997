"""Opens the `.pth` files that this project writes with real torch, and says what differs.

    python golden/interop/check_pth.py [--large GB]

Needs torch (checked with 2.15) and cargo. `--large 5` also writes and reads a file beyond 4 GB, which takes the disk and the
minutes for it. Ends with status 1 if anything differs.
"""

import argparse
import pathlib
import subprocess
import tempfile

import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
ONES = {"F64": (torch.float64, 8), "F16": (torch.float16, 2), "BF16": (torch.bfloat16, 2), "I64": (torch.int64, 8),
        "I32": (torch.int32, 4), "I16": (torch.int16, 2), "I8": (torch.int8, 1), "U8": (torch.uint8, 1),
        "BOOL": (torch.bool, 1), "U64": (torch.uint64, 8), "U32": (torch.uint32, 4), "U16": (torch.uint16, 2)}


def hold(model, prefix=""):
    weight = model[prefix + "encoder.weight"]
    assert torch.equal(weight, torch.arange(60).reshape(3, 4, 5) / 4), weight
    assert model[prefix + "encoder.bias"].tolist() == torch.tensor([0.5, -0.5, 1e-30]).tolist()
    assert model[prefix + "scalar"].shape == () and model[prefix + "scalar"].item() == 2.5
    assert model[prefix + "empty"].shape == (0, 7)
    for name, (dtype, width) in ONES.items():
        expected = torch.frombuffer(bytearray([1] * 6 * width), dtype=dtype).reshape(2, 3)
        found = model[prefix + name]
        assert found.dtype == dtype and found.shape == (2, 3), name
        assert torch.equal(found.view(torch.uint8), expected.view(torch.uint8)), name
        assert found.is_contiguous() and not found.requires_grad, name
    assert len(model) == 4 + len(ONES)


def check_small(folder):
    for mmap in (False, True):
        whole = torch.load(folder / "small.pth", weights_only=True, mmap=mmap)
        assert list(whole) == ["model", "epoch", "config"]
        assert list(whole["model"])[:2] == ["encoder.weight", "encoder.bias"]
        hold(whole["model"])
        assert whole["epoch"] == 300
        assert whole["config"] == {"name": "größer\n", "list": [-1, 2**40, 0.25, None], "is_it": True}
        hold(torch.load(folder / "copy.pth", weights_only=True, mmap=mmap), "model.")


def check_large(folder, gb):
    whole = torch.load(folder / "large.pth", weights_only=True, mmap=True)
    for number in range(gb):
        assert bool((whole[f"gb.{number}"] == number).all()), number


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", type=int, metavar="GB", default=0)
    large = parser.parse_args().large
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        command = ["cargo", "run", "--release", "--quiet", "--locked", "-p", "simmim-pth", "--example", "write_pth", "--", name]
        subprocess.run(command + [str(large)] * (large > 0), cwd=ROOT, check=True)
        check_small(folder)
        if large:
            check_large(folder, large)
    print(f"torch {torch.__version__} reads what is written" + f", {large} GB too" * (large > 0))


if __name__ == "__main__":
    main()
