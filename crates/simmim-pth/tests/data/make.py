"""Writes the files of this folder with real torch; `python make.py` in this folder.

Needs torch, numpy and yacs. The files were written by torch 2.15, numpy 2 and yacs 0.1.8, Python 3.11. Values are counted
up from 0 or small fractions, so that the tests can say them.
"""

import argparse
import collections
import pathlib
import zipfile

import numpy as np
import torch
from yacs.config import CfgNode

HERE = pathlib.Path(__file__).parent
SIX = torch.arange(6, dtype=torch.float32)


def counted(dtype, n=6):
    return torch.arange(n).to(dtype)


class Unknown:
    """A class that no reader knows."""

    def __init__(self, inside):
        self.inside = inside


def types():
    """Every type that is read, in both containers."""
    types = {
        str(dtype)[6:]: counted(dtype).reshape(2, 3)
        for dtype in [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
                      torch.int16, torch.int8, torch.uint8]
    }
    types["bool"] = torch.tensor([[True, False, True], [False, True, True]])
    types["scalar"] = torch.tensor(2.5)
    types["empty"] = torch.zeros(0, 4)
    return types


def views():
    """Views of one storage, and a parameter that is shared."""
    whole = torch.arange(24, dtype=torch.float32)
    table = whole.reshape(4, 6)
    shared = torch.nn.Parameter(SIX.clone())
    return collections.OrderedDict(
        whole=whole, transposed=table.t(), column=table[:, 2], corner=table[1:3, 2:5], every_second=whole[1::2],
        tied=shared, tied_too=shared,
    )


def swin():
    """What the authors' releases look like: weights, optimiser, configuration, numbers."""
    config = CfgNode({"MODEL": {"TYPE": "swin", "SWIN": {"DEPTHS": [2, 2], "WINDOW_SIZE": 6}}, "TAG": "default"})
    config.freeze()
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.5)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    with torch.no_grad():
        model.weight.copy_(SIX.reshape(2, 3))
        model.bias.copy_(SIX[:2])
    state = model.state_dict()
    return {"model": state, "optimizer": optimizer.state_dict(), "epoch": 99, "max_accuracy": np.float64(81.25),
            "step": np.int64(-7), "config": config}


def mae():
    """As MAE writes it: an argparse namespace beside the weights. The weights stand twice."""
    state = collections.OrderedDict(weight=SIX.clone(), bias=SIX[:2].clone())
    args = argparse.Namespace(lr=0.25, name="vit", betas=(0.5, 0.75), resume=None, big=2**70, path=pathlib.PurePosixPath("a"))
    return {"model": state, "model_ema": state, "args": args, "epoch": 7, "seen": {3, }, "raw": b"\x00\xff",
            "device": torch.device("cpu"), "dtype": torch.float32}


def main():
    torch.save(types(), HERE / "types.pth")
    torch.save(types(), HERE / "types-legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({"u16": counted(torch.uint16), "u32": counted(torch.uint32), "u64": counted(torch.uint64)},
               HERE / "unsigned.pth")
    torch.save(views(), HERE / "views.pth")
    torch.save(views(), HERE / "views-legacy.pth", _use_new_zipfile_serialization=False)
    torch.manual_seed(0)
    torch.save(swin(), HERE / "swin.pth")
    torch.save(swin(), HERE / "swin-legacy.pth", _use_new_zipfile_serialization=False)
    torch.save(mae(), HERE / "mae.pth")
    for protocol in (3, 4, 5):
        torch.save(mae(), HERE / f"mae-{protocol}.pth", pickle_protocol=protocol)
    torch.save(mae(), HERE / "mae-4-legacy.pth", pickle_protocol=4, _use_new_zipfile_serialization=False)
    torch.save({"weight": SIX, "callback": Unknown({"lr": 1}), "loss": torch.nn.MSELoss}, HERE / "unknown.pth")
    # What is refused.
    torch.save(torch.nn.Linear(2, 1), HERE / "refused-module.pth")
    torch.save({"wide": torch.ones(1).expand(1000)}, HERE / "refused-expanded.pth")
    torch.save({"complex": torch.ones(2, dtype=torch.complex64)}, HERE / "refused-complex.pth")
    torch.save({"sparse": torch.eye(2).to_sparse()}, HERE / "refused-sparse.pth")
    torch.save({"meta": torch.ones(2, device="meta")}, HERE / "refused-meta.pth")
    holds_itself = []
    holds_itself.append(holds_itself)
    torch.save({"list": holds_itself}, HERE / "refused-recursive.pth")
    torch.save({"a.b": SIX, "a": {"b": SIX}}, HERE / "refused-names.pth")
    torch.jit.script(torch.nn.Linear(2, 1)).save(str(HERE / "refused-script.pth"))
    deflate()


def deflate():
    """The members of one file, packed anew as another program would."""
    with zipfile.ZipFile(HERE / "views.pth") as given, \
            zipfile.ZipFile(HERE / "views-deflated.pth", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in given.namelist():
            packed.writestr(zipfile.ZipInfo(name), given.read(name), zipfile.ZIP_DEFLATED)


if __name__ == "__main__":
    main()
