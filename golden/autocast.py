#!/usr/bin/env python3
"""How far PyTorch's own bf16 strays on the golden files of pre-training: the yardstick of the golden test in bf16.

    pip install torch safetensors
    python golden/autocast.py            # every file of this folder that it knows

One line a file: the relative error of the loss, and the largest relative error of a gradient with its name, both against the
f32 numbers in the file, with `torch.autocast("cpu", dtype=torch.bfloat16)`. Tiny models make tiny sums: some gradients nearly
cancel, and rounding is then a large part of what is left.
"""

import json
from pathlib import Path

import make
import make_swin
import torch
from pretraining import SimMIM
from safetensors import safe_open

ENCODERS = {"vit_pretrain": make.Encoder, "swin_pretrain": make_swin.Swin, "swinv2_pretrain": make_swin.SwinV2}


def main():
    for path in sorted(Path(__file__).resolve().parent.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            metadata, stored = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}
        if metadata.get("kind") not in ENCODERS:
            continue
        config = json.loads(metadata["config"])
        model = SimMIM(ENCODERS[metadata["kind"]](config), config)
        prefix = "param."
        model.load_state_dict({name[len(prefix):]: p for name, p in stored.items()
                               if name.startswith(prefix) and not name.endswith(".attn_mask")})
        with torch.autocast("cpu", dtype=torch.bfloat16):
            _, _, loss = model(stored["input.image"], stored["input.mask"])
        loss.backward()
        expected = stored["output.loss"].item()
        errors = []
        for name, p in model.named_parameters():
            gradient = stored[f"grad.{name}"]
            errors.append(((p.grad - gradient).norm().item() / gradient.norm().item(), name))
        error, name = max(errors)
        print(f"{path.name:28} loss {abs(loss.item() - expected) / expected:.1e}  gradients {error:.2e} at {name}")


if __name__ == "__main__":
    main()
