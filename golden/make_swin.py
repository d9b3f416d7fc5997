"""Golden files of SimMIM pre-training with Swin and SwinV2, from a second, independent implementation.

    python golden/make_swin.py                   write swin_window6, swin_oblong, swinv2 and swinv2_oblong
    python golden/make_swin.py --check FILE...   recompute each FILE from its `param.*` and compare every number in it

Needs torch and safetensors. It knows nothing of the Rust code and shares none with the authors': `--check` on
`swin_pretrain.safetensors`, which the authors' own model wrote, is what shows that the two agree on Swin. README.md
says what vouches for SwinV2, and has the format; pretraining.py has what surrounds the encoder.

Shapes: B batch, h w a stage's grid, D its width, N its heads, S side of a window, T = S*S tokens of a window,
n windows of an image.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from pretraining import Golden, Kink, main, sides

# Logits of cosine attention are multiplied by at most this.
MAX_SCALE = 100.0
# How near an input of a ReLU may come to zero: rounding moves one by about 1e-7.
NEAREST_RELU = 1e-6

BASE = dict(img_size=48, patch_size=2, in_chans=3, num_classes=0, embed_dim=8, depths=[2, 2, 2, 2],
            num_heads=[1, 2, 2, 4], window_size=6, mlp_ratio=2.0, qkv_bias=True, ape=False, patch_norm=True,
            drop_path_rate=0.0)
FILES = {
    # Grids 24, 12, 6, 3: the third stage is one window, the last shrinks its own to 3.
    "swin_window6": Golden("swin_pretrain", 121, 8, BASE | dict(ape=True, patch_norm=False)),
    # Grids 16x32, 8x16, 4x8, 2x4: two windows in a row that do not shift, then two that shrink to 2.
    "swin_oblong": Golden("swin_pretrain", 13, 2, BASE | dict(
        img_size=[32, 64], in_chans=5, embed_dim=6, depths=[2, 3, 1, 2], num_heads=[1, 2, 3, 6], window_size=4,
        mlp_ratio=3.0, qkv_bias=False, norm_target=7)),
    # Grids 16, 8, 4, 2. A head beyond the greatest scale, in a block that shifts: its gradient is zero.
    "swinv2": Golden("swinv2_pretrain", 1237, 16, BASE | dict(
        img_size=64, patch_size=4, in_chans=1, depths=[2, 2, 2, 1], window_size=4),
        last={"encoder.layers.1.blocks.1.attn.logit_scale": math.log(MAX_SCALE) + 0.2}),
    # Grids 48x24, 24x12, 12x6, 6x3. The target's window is nearly as wide as the image.
    "swinv2_oblong": Golden("swinv2_pretrain", 299, 16, BASE | dict(
        img_size=[96, 48], embed_dim=6, depths=[2, 2, 1, 2], num_heads=[1, 2, 3, 6], mlp_ratio=3.0, qkv_bias=False,
        ape=True, patch_norm=False, norm_target=47)),
}


def windows(x, side):
    """[B, h, w, D] to [B, n, T, D]; windows and the tokens in each by rows."""
    B, h, w, D = x.shape
    return x.view(B, h // side, side, w // side, side, D).transpose(2, 3).reshape(B, -1, side * side, D)


def grid_of(x, h, w):
    """The inverse of `windows`: [B, n, T, D] to [B, h, w, D]."""
    B, _, T, D = x.shape
    side = math.isqrt(T)
    return x.view(B, h // side, w // side, side, side, D).transpose(2, 3).reshape(B, h, w, D)


def offset_index(side):
    """Where in a table of (2S-1)² offsets, dy first, each query's offset from each key is: [T, T]."""
    y, x = torch.arange(side).repeat_interleave(side), torch.arange(side).repeat(side)
    dy, dx = y[:, None] - y[None, :], x[:, None] - x[None, :]  # query minus key
    return (dy + side - 1) * (2 * side - 1) + (dx + side - 1)


def shift_mask(h, w, side, shift):
    """-100 between tokens that share a window only because the grid was rolled: [n, T, T]."""
    def part(n):  # rolled by `shift`, a line ends with what came around, in the window that holds its old end
        at = torch.arange(n)
        return (at >= n - side).long() + (at >= n - shift).long()

    parts = 3 * part(h)[:, None] + part(w)[None, :]
    parts = windows(parts[None, :, :, None], side)[0, :, :, 0]  # [n, T]
    return -100.0 * (parts[:, :, None] != parts[:, None, :])


class Attention(nn.Module):
    """Swin's: scaled products, a learnt logit for each offset within the window."""

    def __init__(self, dim, heads, side, qkv_bias):
        super().__init__()
        self.heads = heads
        self.register_buffer("index", offset_index(side), persistent=False)
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * side - 1) ** 2, heads))
        self.proj = nn.Linear(dim, dim)

    def queries_keys_values(self, x):
        return self.qkv(x)

    def similarity(self, q, k):
        return (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)

    def table(self):
        return self.relative_position_bias_table

    def forward(self, x, mask):
        B, n, T, D = x.shape
        qkv = self.queries_keys_values(x).view(B, n, T, 3, self.heads, D // self.heads)
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5)  # each [B, n, N, T, D/N]
        logits = self.similarity(q, k) + self.table()[self.index].permute(2, 0, 1)  # [B, n, N, T, T]
        if mask is not None:
            logits = logits + mask[:, None].to(logits)
        return self.proj((logits.softmax(-1) @ v).transpose(2, 3).reshape(B, n, T, D))


class WatchedReLU(Kink):
    def forward(self, x):
        self.watch(x)
        return x.relu()


class CosineAttention(Attention):
    """SwinV2's: cosines times a learnt scale, logits of offsets from a small network; the key has no bias."""

    def __init__(self, dim, heads, side, qkv_bias):
        super().__init__(dim, heads, side, qkv_bias=False)
        del self.relative_position_bias_table
        self.side = side
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10.0)))
        relu = WatchedReLU("input of a ReLU to zero", NEAREST_RELU)
        self.cpb_mlp = nn.Sequential(nn.Linear(2, 512), relu, nn.Linear(512, heads, bias=False))
        self.q_bias = nn.Parameter(torch.zeros(dim)) if qkv_bias else None
        self.v_bias = nn.Parameter(torch.zeros(dim)) if qkv_bias else None

    def queries_keys_values(self, x):
        qkv = self.qkv(x)
        return qkv if self.q_bias is None else qkv + torch.cat([self.q_bias, 0 * self.q_bias, self.v_bias])

    def similarity(self, q, k):
        cosine = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
        return cosine * self.logit_scale.clamp(max=math.log(MAX_SCALE)).exp()

    def table(self):
        offset = torch.arange(1 - self.side, self.side, dtype=self.logit_scale.dtype) * 8 / (self.side - 1)
        offset = offset.sign() * (offset.abs() + 1).log2() / 3
        return 16 * self.cpb_mlp(torch.cartesian_prod(offset, offset)).sigmoid()  # [(2S-1)², N]


class Block(nn.Module):
    attention = Attention

    def __init__(self, config, dim, heads, grid, odd):
        super().__init__()
        self.side = config["window_size"]
        self.shift = self.side // 2 if odd else 0
        if min(grid) <= self.side:
            self.side, self.shift = min(grid), 0
        self.mask = shift_mask(*grid, self.side, self.shift) if self.shift else None
        hidden = int(dim * config["mlp_ratio"])
        self.norm1, self.attn = nn.LayerNorm(dim), self.attention(dim, heads, self.side, config["qkv_bias"])
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.ModuleDict(dict(fc1=nn.Linear(dim, hidden), fc2=nn.Linear(hidden, dim)))

    def attend(self, x):
        _, h, w, _ = x.shape
        rolled = x.roll((-self.shift, -self.shift), (1, 2))
        y = grid_of(self.attn(windows(rolled, self.side), self.mask), h, w)
        return y.roll((self.shift, self.shift), (1, 2))

    def expand(self, x):
        return self.mlp["fc2"](F.gelu(self.mlp["fc1"](x)))

    def forward(self, x):  # [B, h, w, D]
        x = x + self.attend(self.norm1(x))
        return x + self.expand(self.norm2(x))


class BlockV2(Block):
    """Normalises what a branch returns, not what it takes."""

    attention = CosineAttention

    def __init__(self, *arguments):
        super().__init__(*arguments)
        for norm in (self.norm1, self.norm2):  # the authors start at 0; from 1 on, training magnifies rounding
            nn.init.constant_(norm.weight, 0.3)

    def forward(self, x):
        x = x + self.norm1(self.attend(x))
        return x + self.norm2(self.expand(x))


def two_by_two(x):
    """[B, h, w, D] to [B, h/2, w/2, 4D]; of each four neighbours first the left column, from above."""
    B, h, w, D = x.shape
    return x.view(B, h // 2, 2, w // 2, 2, D).permute(0, 1, 3, 4, 2, 5).reshape(B, h // 2, w // 2, 4 * D)


class Merging(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.reduction, self.norm = nn.Linear(4 * dim, 2 * dim, bias=False), nn.LayerNorm(4 * dim)

    def forward(self, x):
        return self.reduction(self.norm(two_by_two(x)))


class MergingV2(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.reduction, self.norm = nn.Linear(4 * dim, 2 * dim, bias=False), nn.LayerNorm(2 * dim)

    def forward(self, x):
        return self.norm(self.reduction(two_by_two(x)))


class Swin(nn.Module):
    # The authors' code means to exempt tables (in SwinV2 `cpb_mlp` and `logit_scale`) by keyword too, but in
    # pre-training puts "encoder." before each keyword, and no name contains that: they decay.
    without_decay = ("mask_token", "absolute_pos_embed")
    # A third of this is the key's bias, which the softmax cancels: its gradient is rounding, and AdamW makes steps of it.
    undetermined = (".attn.qkv.bias",)
    block, merging = Block, Merging

    def __init__(self, config):
        super().__init__()
        assert config["drop_path_rate"] == 0, "stochastic depth is not made here"
        dim, patch, depths = config["embed_dim"], config["patch_size"], config["depths"]
        h, w = (side // patch for side in sides(config))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.absolute_pos_embed = nn.Parameter(torch.zeros(1, h * w, dim)) if config["ape"] else None
        self.patch_embed = nn.ModuleDict(dict(proj=nn.Conv2d(config["in_chans"], dim, patch, patch)))
        if config["patch_norm"]:
            self.patch_embed["norm"] = nn.LayerNorm(dim)
        self.layers = nn.ModuleList()
        for i, (depth, heads) in enumerate(zip(depths, config["num_heads"], strict=True)):
            blocks = nn.ModuleList(self.block(config, dim, heads, (h, w), j % 2 == 1) for j in range(depth))
            layer = nn.ModuleDict(dict(blocks=blocks))
            if i + 1 < len(depths):
                layer["downsample"] = self.merging(dim)
                h, w, dim = h // 2, w // 2, 2 * dim
            self.layers.append(layer)
        self.norm = nn.LayerNorm(dim)
        self.width, self.stride = dim, patch * 2 ** (len(depths) - 1)

    def forward(self, image, mask):
        x = self.patch_embed["proj"](image).permute(0, 2, 3, 1)  # [B, h, w, D]
        if "norm" in self.patch_embed:
            x = self.patch_embed["norm"](x)
        hidden = mask[..., None]
        x = x * (1 - hidden) + self.mask_token[:, None] * hidden
        if self.absolute_pos_embed is not None:
            x = x + self.absolute_pos_embed.view(1, *x.shape[1:])
        for layer in self.layers:
            for block in layer["blocks"]:
                x = block(x)
            if "downsample" in layer:
                x = layer["downsample"](x)
        return self.norm(x).permute(0, 3, 1, 2)


class SwinV2(Swin):
    block, merging = BlockV2, MergingV2


if __name__ == "__main__":
    main("make_swin.py", __doc__, {"swin_pretrain": Swin, "swinv2_pretrain": SwinV2}, FILES)
