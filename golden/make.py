"""Golden files of SimMIM pre-training with a ViT, from a second, independent implementation.

    python golden/make.py                   write vit_absolute, vit_per_block and vit_oblong beside this file
    python golden/make.py --check FILE...   recompute each FILE from its `param.*` and compare every number in it

Needs torch and safetensors. It knows nothing of the Rust code and shares none with the authors': `--check` on
`vit_pretrain.safetensors`, which the authors' own model wrote, is what shows that the two agree. README.md has
the format.

Shapes: B batch, C channels, H W pixels, h w patches, L = h*w, T = L + 1 tokens, D width, N heads.
"""

import argparse
import json
import math
import struct
import sys
from pathlib import Path

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
# nearer than this in its five steps, so that rounding decides nothing; the seeds below were picked for that.
NEAREST = 1e-4

BASE = dict(img_size=48, patch_size=8, in_chans=3, num_classes=0, embed_dim=32, depth=2, num_heads=4, mlp_ratio=4,
            qkv_bias=True, init_values=None, use_abs_pos_emb=False, use_rel_pos_bias=False,
            use_shared_rel_pos_bias=False, use_mean_pooling=False, layer_norm_eps=1e-6)
# name: (seed, side of a mask cell in pixels, config)
FILES = {
    "vit_absolute": (193, 16, BASE | dict(use_abs_pos_emb=True)),
    "vit_per_block": (70, 8, BASE | dict(img_size=32, patch_size=4, embed_dim=24, depth=3, num_heads=3,
                                        qkv_bias=False, init_values=0.1, use_rel_pos_bias=True)),
    "vit_oblong": (31, 16, BASE | dict(img_size=[48, 64], in_chans=5, embed_dim=24, num_heads=2, init_values=0.1,
                                      use_abs_pos_emb=True, use_shared_rel_pos_bias=True, norm_target=7)),
}


def sides(config):
    size = config["img_size"]
    return (size, size) if isinstance(size, int) else tuple(size)


class RelativeTable(nn.Module):
    """A learnt logit for each offset (dy, dx) between patches, and three for pairs with the cls token."""

    def __init__(self, h, w, heads):
        super().__init__()
        n_offsets = (2 * h - 1) * (2 * w - 1)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(n_offsets + 3, heads))
        y, x = torch.arange(h).repeat_interleave(w), torch.arange(w).repeat(h)
        dy, dx = y[:, None] - y[None, :], x[:, None] - x[None, :]  # query minus key
        index = torch.empty(h * w + 1, h * w + 1, dtype=torch.long)
        index[1:, 1:] = (dy + h - 1) * (2 * w - 1) + (dx + w - 1)
        index[0, :] = n_offsets  # cls looks at a patch
        index[:, 0] = n_offsets + 1  # a patch looks at cls
        index[0, 0] = n_offsets + 2
        self.register_buffer("index", index, persistent=False)

    def bias(self):
        return self.relative_position_bias_table[self.index].permute(2, 0, 1)  # [N, T, T]


class Attention(RelativeTable):
    """Multi-head attention; the key has no bias. It is a RelativeTable only for the parameter's published name."""

    def __init__(self, config, h, w):
        dim, self.heads = config["embed_dim"], config["num_heads"]
        super().__init__(h, w, self.heads)
        if not config["use_rel_pos_bias"]:
            del self.relative_position_bias_table
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(dim)) if config["qkv_bias"] else None
        self.v_bias = nn.Parameter(torch.zeros(dim)) if config["qkv_bias"] else None
        self.proj = nn.Linear(dim, dim)

    def forward(self, x, shared):
        B, T, D = x.shape
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        if self.q_bias is not None:
            q, v = q + self.q_bias, v + self.v_bias
        q, k, v = (t.view(B, T, self.heads, -1).transpose(1, 2) for t in (q, k, v))  # [B, N, T, D/N]
        logits = (q * (D // self.heads) ** -0.5) @ k.transpose(-2, -1)
        if hasattr(self, "relative_position_bias_table"):
            logits = logits + self.bias()
        if shared is not None:
            logits = logits + shared
        return self.proj((logits.softmax(-1) @ v).transpose(1, 2).reshape(B, T, D))


class Block(nn.Module):
    def __init__(self, config, h, w):
        super().__init__()
        dim, eps, scale = config["embed_dim"], config["layer_norm_eps"], config["init_values"]
        hidden = int(dim * config["mlp_ratio"])
        self.norm1, self.attn = nn.LayerNorm(dim, eps=eps), Attention(config, h, w)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = nn.ModuleDict(dict(fc1=nn.Linear(dim, hidden), fc2=nn.Linear(hidden, dim)))
        self.gamma_1 = nn.Parameter(torch.full((dim,), scale)) if scale else None
        self.gamma_2 = nn.Parameter(torch.full((dim,), scale)) if scale else None

    def forward(self, x, shared):
        y = self.attn(self.norm1(x), shared)
        x = x + (y if self.gamma_1 is None else self.gamma_1 * y)
        y = self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))
        return x + (y if self.gamma_2 is None else self.gamma_2 * y)


class Encoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        dim, patch = config["embed_dim"], config["patch_size"]
        h, w = (side // patch for side in sides(config))
        self.cls_token, self.mask_token = (nn.Parameter(torch.zeros(1, 1, dim)) for _ in range(2))
        self.pos_embed = nn.Parameter(torch.zeros(1, h * w + 1, dim)) if config["use_abs_pos_emb"] else None
        self.patch_embed = nn.ModuleDict(dict(proj=nn.Conv2d(config["in_chans"], dim, patch, patch)))
        self.rel_pos_bias = RelativeTable(h, w, config["num_heads"]) if config["use_shared_rel_pos_bias"] else None
        self.blocks = nn.ModuleList(Block(config, h, w) for _ in range(config["depth"]))
        pooled = config["use_mean_pooling"]
        self.norm = nn.Identity() if pooled else nn.LayerNorm(dim, eps=config["layer_norm_eps"])

    def forward(self, image, mask):
        x = self.patch_embed["proj"](image)  # [B, D, h, w]
        B, D, h, w = x.shape
        x = x.flatten(2).transpose(1, 2)  # [B, L, D]
        hidden = mask.reshape(B, h * w, 1)
        x = x * (1 - hidden) + self.mask_token * hidden
        x = torch.cat([self.cls_token.expand(B, 1, D), x], dim=1)  # [B, T, D]
        if self.pos_embed is not None:
            x = x + self.pos_embed
        shared = None if self.rel_pos_bias is None else self.rel_pos_bias.bias()
        for block in self.blocks:
            x = block(x, shared)
        return self.norm(x)[:, 1:].transpose(1, 2).reshape(B, D, h, w)


class SimMIM(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.patch, self.window = config["patch_size"], config.get("norm_target")
        self.encoder = Encoder(config)
        n_out = self.patch**2 * config["in_chans"]
        self.decoder = nn.Sequential(nn.Conv2d(config["embed_dim"], n_out, 1), nn.PixelShuffle(self.patch))
        self.nearest = math.inf  # smallest error of a hidden value in any forward pass so far

    def forward(self, image, mask):
        features = self.encoder(image, mask)
        reconstruction = self.decoder(features)
        target = norm_targets(image, self.window) if self.window else image
        hidden = mask.repeat_interleave(self.patch, 1).repeat_interleave(self.patch, 2)[:, None]  # [B, 1, H, W]
        error = (target - reconstruction).abs()
        self.nearest = min(self.nearest, error[hidden.expand_as(error) > 0].min().item())
        return features, reconstruction, (error * hidden).sum() / (hidden.sum() + 1e-5) / image.shape[1]


def norm_targets(image, k):
    """Each pixel less its mean, over its standard deviation, in the part of a k x k window inside the image."""
    def pool(x, border):
        return F.avg_pool2d(x, k, stride=1, padding=k // 2, count_include_pad=border)

    mean, square = pool(image, False), pool(image**2, False)
    n = pool(torch.ones_like(image), True) * k**2  # pixels of the window inside the image
    variance = ((square - mean**2) * n / (n - 1)).clamp(min=0)
    return (image - mean) / (variance + 1e-6).sqrt()


def decay_groups(model):
    """Names with and without weight decay, by the rule of the authors' optimiser."""
    exempt = ("encoder.pos_embed", "encoder.cls_token")
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
    found |= {f"after.{name}": p for name, p in parameters.items()}
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


def make(path, seed, cell, config):
    generator = torch.Generator().manual_seed(seed)
    model = SimMIM(config)
    randomise(model, generator)
    image = torch.randn(2, config["in_chans"], *sides(config), generator=generator)
    mask = torch.stack([draw_mask(config, cell, generator) for _ in range(2)])
    tensors = {f"param.{name}": p.detach().clone() for name, p in model.named_parameters()}
    tensors |= {"input.image": image, "input.mask": mask} | compute(model, image, mask)
    assert model.nearest > NEAREST, f"{path.name}: a prediction within {model.nearest:.1e} of its target; pick a seed"
    metadata = {
        "kind": "vit_pretrain", "config": json.dumps(config), "groups": json.dumps(decay_groups(model)),
        "img": json.dumps(config["img_size"]), "patch": str(config["patch_size"]), "stride": str(config["patch_size"]),
        "mask_patch": str(cell), "mask_ratio": str(MASK_RATIO), "optim": OPTIM,
        "producer": f"golden/make.py, torch {torch.__version__}",
    }
    path.write_bytes(in_fixed_order(save(tensors, metadata)))


def in_fixed_order(data):
    """The same file with the metadata sorted: safetensors writes them in an order that changes from run to run."""
    n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + n])
    metadata = dict(sorted(header.pop("__metadata__").items()))
    text = json.dumps({"__metadata__": metadata} | header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[8 + n :]


def check(path):
    """Prints how far each kind of number is from the file's; returns whether all are within TOLERANCE.

    f64 is there for the file: were it far off, the file would hang on how f32 rounds, and nothing could match it.
    """
    with safe_open(path, "pt") as file:
        stored, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
    config = json.loads(metadata["config"])
    assert (metadata["kind"], metadata["optim"]) == ("vit_pretrain", OPTIM), "not a file of this program's kind"
    worst = {}
    for dtype in (torch.float32, torch.float64):
        model = SimMIM(config)
        prefix = "param."
        model.load_state_dict({name[len(prefix):]: p for name, p in stored.items() if name.startswith(prefix)})
        model.to(dtype)
        groups = {kind: set(names) for kind, names in json.loads(metadata["groups"]).items()}
        assert {kind: set(names) for kind, names in decay_groups(model).items()} == groups, "decay groups differ"
        found = compute(model, stored["input.image"].to(dtype), stored["input.mask"].to(dtype))
        expected = {name for name in stored if not name.startswith(("param.", "input."))}
        assert set(found) == expected, f"names differ: {set(found) ^ expected}"
        for name, value in found.items():
            assert value.shape == stored[name].shape, f"{name}: shape {value.shape}"
            reference = stored[name].double()
            # A number that is not one counts as far away.
            error = ((value.double() - reference).norm() / reference.norm()).nan_to_num(math.inf).item()
            kind = name if name.startswith(("output.", "train.")) else name.split(".")[0] + ".*"
            worst[kind, dtype] = max(worst.get((kind, dtype), (-1.0, "")), (error, name))
    print(f"{path}\n  {'':24}{'f32':>10}{'f64':>10}  furthest in f32")
    print(f"  nearest hidden value to its target: {model.nearest:.1e}")
    for kind in dict.fromkeys(kind for kind, _ in worst):
        (single, name), (double, _) = worst[kind, torch.float32], worst[kind, torch.float64]
        print(f"  {kind:24}{single:10.1e}{double:10.1e}  {name}")
    return all(error <= TOLERANCE for error, _ in worst.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", nargs="+", metavar="FILE", help="compare instead of writing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.check:
        sys.exit(0 if all([check(path) for path in arguments.check]) else f"above {TOLERANCE:.0e}")
    for name, (seed, cell, config) in FILES.items():
        make(HERE / f"{name}.safetensors", seed, cell, config)


if __name__ == "__main__":
    main()
