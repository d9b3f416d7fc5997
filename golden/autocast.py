#!/usr/bin/env python3
"""How far PyTorch's own bf16 strays from f32 in each tensor of the golden files: the yardstick of the golden test in bf16.

    pip install torch numpy safetensors
    python golden/autocast.py            # writes bf16/NAME.json for every NAME.safetensors of this folder

An error is |a-b|/|b| (L2 norms) of what `torch.autocast("cpu", dtype=torch.bfloat16)` gives against f32: of features,
reconstruction or logits, loss, each gradient, and in pre-training five steps of AdamW. Rounding is a matter of luck, most of all
in tensors of few numbers, and a yardstick should not be: what is written is the root mean square over DRAWS models, the file's own
and others whose parameters and images lie within a step of bf16 of it, so that they round elsewhere.
"""

import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import nn

import make
import make_swin
from pretraining import HERE, TOLERANCE, SimMIM, compute

DRAWS = 64
# The relative distance of neighbouring numbers in bf16 is 2^-8 to 2^-7.
STEP = 2.0**-8
# Root mean square of a tensor that counts as zero, as in the Rust test: gradients that cancel to nothing have no direction.
FLOOR = 1e-7
PRETRAIN = {"vit_pretrain": make.Encoder, "swin_pretrain": make_swin.Swin, "swinv2_pretrain": make_swin.SwinV2}
FINETUNE = {"vit_finetune": make.Encoder, "swin_finetune": make_swin.Swin}


class Classifier(nn.Module):
    """Its encoder's parameters have no prefix, as in the authors' files."""

    def __init__(self, encoder, config):
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(encoder.width, config["num_classes"])
        self.fc_norm = nn.LayerNorm(encoder.width, eps=config["layer_norm_eps"]) if "layer_norm_eps" in config else None

    def forward(self, image):
        h, w = (side // self.encoder.patch_embed["proj"].kernel_size[0] for side in image.shape[2:])
        features = self.encoder(image, torch.zeros(len(image), h, w)).flatten(2).mean(2)
        return self.head(features if self.fc_norm is None else self.fc_norm(features))


def classify(model, image, target):
    """Everything in a file of fine-tuning but `param.*` and `input.*`."""
    logits = model(image)
    loss = (-target * F.log_softmax(logits, -1)).sum(-1).mean()
    loss.backward()
    found = {"output.logits": logits, "output.loss": loss.reshape(1)}
    found |= {f"grad.{name.removeprefix('encoder.')}": p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {name: value.detach().clone() for name, value in found.items() if not name.endswith("mask_token")}


def build(kind, config, parameters):
    if kind in PRETRAIN:
        model = SimMIM(PRETRAIN[kind](config), config)
        model.load_state_dict(parameters)
        return model
    defaults = dict(in_chans=3, mlp_ratio=4.0, qkv_bias=True, ape=False, patch_norm=True)
    model = Classifier(FINETUNE[kind](defaults | config), config)
    own = {name if name.startswith(("head.", "fc_norm.")) else f"encoder.{name}": p for name, p in parameters.items()}
    missing, unknown = model.load_state_dict(own, strict=False)
    assert set(missing) <= {"encoder.mask_token"} and not unknown, (missing, unknown)
    return model


def run(kind, config, parameters, inputs, in_bf16):
    model = build(kind, config, parameters)
    step = compute if kind in PRETRAIN else classify
    # The cache would keep the weights of the first of the five steps.
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=in_bf16, cache_enabled=False):
        return step(model, *inputs)


def error(value, reference):
    """As the Rust test has it."""
    reference = reference.double()
    floor = FLOOR * math.sqrt(reference.numel())
    return (value.double() - reference).norm().item() / max(reference.norm().item(), floor)


def moved(tensors, generator):
    """Each number within a step of bf16 of what it was."""
    return [p * (1 + STEP * (2 * torch.rand(p.shape, generator=generator) - 1)) for p in tensors]


def measure(path):
    """The error of every tensor that the file holds and this program makes."""
    with safe_open(path, "pt") as file:
        stored, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
    kind, config = metadata["kind"], json.loads(metadata["config"])
    parameters = {name.removeprefix("param."): p for name, p in stored.items()
                  if name.startswith("param.") and not name.endswith((".attn_mask", "relative_position_index"))}
    image, other = stored["input.image"], stored["input.mask" if kind in PRETRAIN else "input.target"]
    generator, squares = torch.Generator().manual_seed(0), {}
    for draw in range(DRAWS):
        if draw == 0:
            names, values, inputs = list(parameters), list(parameters.values()), (image, other)
        else:
            *values, noisy = moved([*parameters.values(), image], generator)
            inputs = (noisy, other)
        model = dict(zip(names, values))
        reference, found = (run(kind, config, model, inputs, in_bf16) for in_bf16 in (False, True))
        for name, value in found.items():
            if name not in stored:
                continue
            if draw == 0:
                assert error(reference[name], stored[name]) < 10 * TOLERANCE, f"{path.name}: {name} in f32"
            squares.setdefault(name, []).append(error(value, reference[name]) ** 2)
    missing = {name for name in stored if not name.startswith(("param.", "input."))} - set(squares)
    assert not missing, f"{path.name}: {missing}"
    return {name: math.sqrt(sum(values) / DRAWS) for name, values in squares.items()}


def main():
    torch.set_num_threads(1)
    torch.backends.mkldnn.deterministic = True
    (HERE / "bf16").mkdir(exist_ok=True)
    for path in sorted(HERE.glob("*.safetensors")):
        errors = measure(path)
        lines = ",\n".join(f"{json.dumps(name)}: {errors[name]:.2e}" for name in sorted(errors))
        (HERE / "bf16" / f"{path.stem}.json").write_text("{\n" + lines + "\n}\n")
        worst = max(errors, key=errors.get)
        print(f"{path.name:28} loss {errors['output.loss']:.1e}  most {errors[worst]:.2e} at {worst}")


if __name__ == "__main__":
    main()
