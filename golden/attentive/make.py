"""A golden file of a ViT with an attentive head, from an implementation in PyTorch that is independent of the Rust code.

    python golden/attentive/make.py         write vit.safetensors beside this file

Needs torch and safetensors. The encoder is that of ../make.py, which the authors' own files vouch for. The head is written here from
the definition in arXiv 2506.10178 by PyTorch's own operations: each query is scored against every token, a softmax over the tokens
weighs the query's slice of the projected values. Dropout and drop-path are off; weights are drawn, none is trained.

Shapes: B batch, L tokens, D width, M queries, K labels.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from make import BASE, Encoder  # noqa: E402  (the folder above is no package)

CONFIG = BASE | dict(img_size=[24, 32], embed_dim=24, num_heads=3, use_mean_pooling=True, init_values=0.1,
                     use_shared_rel_pos_bias=True)
QUERIES, LABELS = 8, 5


class Pool(nn.Module):
    def __init__(self, D):
        super().__init__()
        self.queries, self.values = nn.Linear(D, QUERIES, bias=False), nn.Linear(D, D, bias=False)

    def forward(self, tokens):
        B, L, D = tokens.shape
        scores = torch.einsum("bld,md->bml", tokens, self.queries.weight) / D ** 0.5
        values = self.values(tokens).view(B, L, QUERIES, D // QUERIES)
        return torch.einsum("bml,blmj->bmj", scores.softmax(-1), values).reshape(B, D)


class Model(Encoder):
    def __init__(self):
        super().__init__(CONFIG)
        D = self.width
        self.fc_norm = nn.LayerNorm(D, eps=1e-6)
        self.pool = Pool(D)
        self.head = nn.Linear(D, LABELS)

    def forward(self, image):
        h, w = (side // CONFIG["patch_size"] for side in CONFIG["img_size"])
        tokens = super().forward(image, torch.zeros(len(image), h, w)).flatten(2).transpose(1, 2)
        return self.head(self.pool(self.fc_norm(tokens)))


def layer(name):
    if name.startswith(("cls_token", "pos_embed", "patch_embed")):
        return 0
    parts = name.split(".")
    return int(parts[1]) + 1 if parts[0] == "blocks" else CONFIG["depth"] + 1


def main():
    torch.manual_seed(16)
    model = Model().double()
    del model.mask_token
    model.mask_token = torch.zeros(1, 1, CONFIG["embed_dim"], dtype=torch.double)
    for parameter in model.parameters():
        # Far from where a training begins, so that queries prefer tokens and no branch is a zero.
        parameter.data = (torch.randn_like(parameter) * (0.5 if parameter.dim() < 2 else 0.3)).float().double()
    image = torch.randn(3, 3, *CONFIG["img_size"]).double()
    target = torch.rand(3, LABELS).double()
    image, target = image.float().double(), target.float().double()
    logits = model(image)
    loss = -(target * logits.log_softmax(-1)).sum() / len(image)
    loss.backward()
    tensors = {"input.image": image, "input.target": target, "output.logits": logits, "output.loss": loss.reshape(1)}
    for name, parameter in model.named_parameters():
        tensors[f"param.{name}"], tensors[f"grad.{name}"] = parameter, parameter.grad
    tensors = {name: tensor.detach().float().contiguous() for name, tensor in tensors.items()}
    metadata = dict(kind="vit_attentive", config=json.dumps(CONFIG),
                    layers=json.dumps({name: layer(name) for name, _ in model.named_parameters()}))
    save_file(tensors, HERE / "vit.safetensors", metadata)


if __name__ == "__main__":
    main()
