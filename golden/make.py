"""Golden files of SimMIM pre-training with a ViT, from a second, independent implementation.

    python golden/make.py                   write vit_absolute, vit_per_block and vit_oblong beside this file
    python golden/make.py --check FILE...   recompute each FILE from its `param.*` and compare every number in it

Needs torch and safetensors. It knows nothing of the Rust code and shares none with the authors': `--check` on
`vit_pretrain.safetensors`, which the authors' own model wrote, is what shows that the two agree. README.md has
the format; pretraining.py has what surrounds the encoder.

Shapes: B batch, C channels, H W pixels, h w patches, L = h*w, T = L + 1 tokens, D width, N heads.
"""

import torch
import torch.nn.functional as F
from torch import nn

from pretraining import Golden, main, sides

BASE = dict(img_size=48, patch_size=8, in_chans=3, num_classes=0, embed_dim=32, depth=2, num_heads=4, mlp_ratio=4,
            qkv_bias=True, init_values=None, use_abs_pos_emb=False, use_rel_pos_bias=False,
            use_shared_rel_pos_bias=False, use_mean_pooling=False, layer_norm_eps=1e-6)
KIND = "vit_pretrain"
FILES = {
    "vit_absolute": Golden(KIND, 193, 16, BASE | dict(use_abs_pos_emb=True)),
    "vit_per_block": Golden(KIND, 70, 8, BASE | dict(
        img_size=32, patch_size=4, embed_dim=24, depth=3, num_heads=3, qkv_bias=False, init_values=0.1,
        use_rel_pos_bias=True)),
    "vit_oblong": Golden(KIND, 31, 16, BASE | dict(
        img_size=[48, 64], in_chans=5, embed_dim=24, num_heads=2, init_values=0.1, use_abs_pos_emb=True,
        use_shared_rel_pos_bias=True, norm_target=7)),
}


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
    without_decay = ("pos_embed", "cls_token")
    undetermined = ()

    def __init__(self, config):
        super().__init__()
        dim, patch = config["embed_dim"], config["patch_size"]
        self.width, self.stride = dim, patch
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


if __name__ == "__main__":
    main("make.py", __doc__, {KIND: Encoder}, FILES)
