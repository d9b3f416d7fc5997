"""What the generators of golden files share: the masked model around an encoder, its training steps, the files.

An encoder is a module made from a config, with `width` (of its features), `stride` (pixels between them),
`without_decay` (its parameters that the authors' code exempts by name) and `undetermined` (endings of parameters that
rounding alone moves); it takes an image [B, C, H, W] and a mask [B, h, w] and returns features
[B, D, H/stride, W/stride]. README.md has the format of the files.

Shapes: B batch, C channels, H W pixels, h w patches, L = h*w, D width, N heads.
"""

import argparse
import json
import math
import struct
import sys
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save
from torch import nn

HERE = Path(__file__).resolve().parent
OPTIM = "AdamW lr=1e-3 betas=(0.9,0.999) eps=1e-8 wd=0.05 clip=0.5"
N_STEPS = 5
MASK_RATIO = 0.6
# Largest |a-b|/|b| (L2 norms, by tensor) that --check lets pass: f32 sums in another order.
TOLERANCE = 1e-5
# The gradient of an L1 loss flips where a prediction meets its target. No hidden value of a file made here comes
# nearer than this in its five steps, so that rounding decides nothing; the seeds were picked for that.
NEAREST = 1e-4


class Golden(NamedTuple):
    """One file to write."""

    kind: str
    seed: int
    cell: int  # side of a mask cell in pixels
    config: dict
    last: dict = {}  # parameter: its last value, in place of a random one


class Kink(nn.Module):
    """Remembers how near to zero values came that are about to meet a function whose gradient jumps there."""

    def __init__(self, what, limit):
        super().__init__()
        self.what, self.limit, self.nearest = what, limit, math.inf

    def watch(self, values):
        self.nearest = min(self.nearest, values.abs().min().item())


class SimMIM(nn.Module):
    def __init__(self, encoder, config):
        super().__init__()
        self.patch, self.window = config["patch_size"], config.get("norm_target")
        self.encoder = encoder
        n_out = encoder.stride**2 * config["in_chans"]
        self.decoder = nn.Sequential(nn.Conv2d(encoder.width, n_out, 1), nn.PixelShuffle(encoder.stride))
        self.l1 = Kink("hidden value to its target", NEAREST)

    def forward(self, image, mask):
        features = self.encoder(image, mask)
        reconstruction = self.decoder(features)
        target = norm_targets(image, self.window) if self.window else image
        hidden = mask.repeat_interleave(self.patch, 1).repeat_interleave(self.patch, 2)[:, None]  # [B, 1, H, W]
        error = (target - reconstruction).abs()
        self.l1.watch(error[hidden.expand_as(error) > 0])
        return features, reconstruction, (error * hidden).sum() / (hidden.sum() + 1e-5) / image.shape[1]

    def kinks(self):
        return [module for module in self.modules() if isinstance(module, Kink)]


def norm_targets(image, k):
    """Each pixel less its mean, over its standard deviation, in the part of a k x k window inside the image."""
    def pool(x, border):
        return F.avg_pool2d(x, k, stride=1, padding=k // 2, count_include_pad=border)

    mean, square = pool(image, False), pool(image**2, False)
    n = pool(torch.ones_like(image), True) * k**2  # pixels of the window inside the image
    variance = ((square - mean**2) * n / (n - 1)).clamp(min=0)
    return (image - mean) / (variance + 1e-6).sqrt()


def sides(config):
    size = config["img_size"]
    return (size, size) if isinstance(size, int) else tuple(size)


def decay_groups(model):
    """Names with and without weight decay, by the rule of the authors' optimiser."""
    exempt = tuple(f"encoder.{name}" for name in model.encoder.without_decay)
    groups = {"decay": [], "no_decay": []}
    for name, p in model.named_parameters():
        exempted = p.ndim == 1 or name.endswith(".bias") or name in exempt
        groups["no_decay" if exempted else "decay"].append(name)
    return groups


def compute(model, image, mask):
    """Everything in a file but `param.*` and `input.*`. Trains the model."""
    parameters = dict(model.named_parameters())
    groups = [{"params": [parameters[name] for name in names], "weight_decay": decay}
              for names, decay in zip(decay_groups(model).values(), (0.05, 0.0))]
    optimiser = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.999), eps=1e-8)
    found, losses, norms = {}, [], []
    for step in range(N_STEPS):
        optimiser.zero_grad()
        features, reconstruction, loss = model(image, mask)
        loss.backward()
        if step == 0:
            found |= {"output.features": features, "output.reconstruction": reconstruction,
                      "output.loss": loss.reshape(1)}
            found |= {f"grad.{name}": p.grad.clone() for name, p in parameters.items()}
        losses.append(loss.detach())
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), 0.5))
        optimiser.step()
    found |= {"train.losses": torch.stack(losses), "train.grad_norms": torch.stack(norms)}
    found |= {f"after.{name}": p for name, p in parameters.items() if not name.endswith(model.encoder.undetermined)}
    return {name: value.detach().contiguous().clone() for name, value in found.items()}


def randomise(model, generator):
    """Nothing is left at zero, or at a value that several parameters share, so every gradient tells."""
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if name.startswith("decoder"):  # wide, so that errors lean to one side and the gradients' norm is clipped
            p.data.copy_(0.5 * noise)
        elif "gamma" in name:
            p.data.add_(0.05 * noise)
        elif "norm" in name and name.endswith("weight"):
            p.data.add_(0.1 * noise)
        elif name.endswith("logit_scale"):
            p.data.copy_(1 + 0.3 * noise)
        elif name.endswith(("_bias", ".bias")):
            p.data.copy_(0.1 * noise)
        elif name.endswith(".weight"):
            p.data.copy_(noise / math.sqrt(p[0].numel()))  # by the number of inputs
        else:  # tokens, positions and tables
            p.data.copy_(0.3 * noise)


def draw_mask(config, cell, generator):
    patch, (H, W) = config["patch_size"], sides(config)
    rows, columns = H // cell, W // cell
    mask = torch.zeros(rows * columns)
    mask[torch.randperm(rows * columns, generator=generator)[: math.ceil(rows * columns * MASK_RATIO)]] = 1
    scale = cell // patch
    return mask.view(rows, columns).repeat_interleave(scale, 0).repeat_interleave(scale, 1)  # [h, w]


def make(path, golden, encoder, script):
    config, generator = golden.config, torch.Generator().manual_seed(golden.seed)
    model = SimMIM(encoder(config), config)
    randomise(model, generator)
    for name, value in golden.last.items():
        model.get_parameter(name).data.view(-1)[-1] = value
    image = torch.randn(2, config["in_chans"], *sides(config), generator=generator)
    mask = torch.stack([draw_mask(config, golden.cell, generator) for _ in range(2)])
    tensors = {f"param.{name}": p.detach().clone() for name, p in model.named_parameters()}
    tensors |= {"input.image": image, "input.mask": mask} | compute(model, image, mask)
    for kink in model.kinks():
        assert kink.nearest > kink.limit, f"{path.name}: nearest {kink.what}: {kink.nearest:.1e}; pick another seed"
    metadata = {
        "kind": golden.kind, "config": json.dumps(config), "groups": json.dumps(decay_groups(model)),
        "img": json.dumps(config["img_size"]), "patch": str(config["patch_size"]),
        "stride": str(model.encoder.stride), "mask_patch": str(golden.cell), "mask_ratio": str(MASK_RATIO),
        "optim": OPTIM, "producer": f"golden/{script}, torch {torch.__version__}",
    }
    path.write_bytes(in_fixed_order(save(tensors, metadata)))
    assert check(path, {golden.kind: encoder}), f"{path.name}: hangs on rounding; pick another seed"


def in_fixed_order(data):
    """The same file with the metadata sorted: safetensors writes them in an order that changes from run to run."""
    n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + n])
    metadata = dict(sorted(header.pop("__metadata__").items()))
    text = json.dumps({"__metadata__": metadata} | header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[8 + n :]


def check(path, encoders):
    """Prints how far each kind of number is from the file's; returns whether all are within TOLERANCE.

    f64 is there for the file: were it far off, the file would hang on how f32 rounds, and nothing could match it.
    """
    with safe_open(path, "pt") as file:
        stored, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
    config, kind = json.loads(metadata["config"]), metadata["kind"]
    assert kind in encoders and metadata["optim"] == OPTIM, f"{path}: not a file of this program's kind"
    prefix = "param."
    parameters = {name[len(prefix):]: p for name, p in stored.items()
                  if name.startswith(prefix) and not name.endswith(".attn_mask")}  # the authors' Swin stores this buffer
    expected = {name for name in stored if not name.startswith((prefix, "input."))}
    worst = {}
    for dtype in (torch.float32, torch.float64):
        model = SimMIM(encoders[kind](config), config)
        model.load_state_dict(parameters)
        model.to(dtype)
        groups = {kind: set(names) for kind, names in json.loads(metadata["groups"]).items()}
        assert {kind: set(names) for kind, names in decay_groups(model).items()} == groups, "decay groups differ"
        found = compute(model, stored["input.image"].to(dtype), stored["input.mask"].to(dtype))
        if not any(name.startswith("after.") for name in expected):  # the authors' Swin file has none
            found = {name: value for name, value in found.items() if not name.startswith("after.")}
        assert set(found) == expected, f"names differ: {set(found) ^ expected}"
        for name, value in found.items():
            assert value.shape == stored[name].shape, f"{name}: shape {value.shape}"
            reference = stored[name].double()
            # A number that is not one counts as far away.
            error = ((value.double() - reference).norm() / reference.norm()).nan_to_num(math.inf).item()
            part = name if name.startswith(("output.", "train.")) else name.split(".")[0] + ".*"
            worst[part, dtype] = max(worst.get((part, dtype), (-1.0, "")), (error, name))
    print(f"{path}\n  {'':24}{'f32':>10}{'f64':>10}  furthest in f32")
    for what in dict.fromkeys(kink.what for kink in model.kinks()):
        print(f"  nearest {what}: {min(kink.nearest for kink in model.kinks() if kink.what == what):.1e}")
    for part in dict.fromkeys(part for part, _ in worst):
        (single, name), (double, _) = worst[part, torch.float32], worst[part, torch.float64]
        print(f"  {part:24}{single:10.1e}{double:10.1e}  {name}")
    return all(error <= TOLERANCE for error, _ in worst.values())


def main(script, doc, encoders, files):
    """The command line of `script`, which makes `files` with the `encoders` of each kind."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", nargs="+", metavar="FILE", help="compare instead of writing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.check:
        sys.exit(0 if all([check(path, encoders) for path in arguments.check]) else f"above {TOLERANCE:.0e}")
    for name, golden in files.items():
        make(HERE / f"{name}.safetensors", golden, encoders[golden.kind], script)
