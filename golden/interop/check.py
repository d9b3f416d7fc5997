"""Exports of simmim in the real libraries: what they compute with them is what `simmim embed` and `simmim predict` compute.

    python -m venv venv && venv/bin/pip install -r golden/interop/requirements.txt
    cargo build --release && venv/bin/python golden/interop/check.py target/release/simmim

Trains small models for a few steps on images that it draws, writes each for every library that has a class for it, and compares the
features (and the probabilities of classifiers) of the same images; graphs of ONNX too, for which the masked loss is compared with that of
transformers. Exits with 1 where any is farther than 1e-4, or 1e-3 of a graph.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

PX = 32
N_IMAGES = 16
TOLERANCE = 1e-4
OF_GRAPHS = 1e-3
VIT = {"model.variant": "vit-t/8", "model.width": 24, "model.depth": 2, "model.heads": 3}
PLAIN = {**VIT, "model.positions": "absolute", "model.layer_scale": 0, "model.key_bias": "true", "mask.cell_px": 8}
BEIT = {**VIT, "model.layer_scale": 0.1, "mask.cell_px": 8}
SWIN = {
    "model.variant": "swin-t/2",
    "model.depth": "unset",
    "model.width": 12,
    "model.depths": "[2,1,2,1]",
    "model.heads": 2,
    "model.window": 2,
    "mask.cell_px": 4,
}
SWIN_V2 = {**SWIN, "model.variant": "swinv2-t/2"}
ALL = ["timm", "huggingface", "torchvision", "mmpretrain"]
MODELS = {
    "plain": (PLAIN, ALL),
    "beit": (BEIT, ["timm", "huggingface", "mmpretrain"]),
    "swin": (SWIN, ALL),
    "swinv2": (SWIN_V2, ALL),
}
# What the libraries are told of a geometry where no file says it.
DEPTHS, HEADS, WIDTH, WINDOW = [2, 1, 2, 1], [2, 4, 8, 16], 12, 2


class Work:
    def __init__(self, simmim, folder):
        self.simmim, self.folder = Path(simmim).resolve(), Path(folder)
        generator = np.random.default_rng(3)
        for number in range(N_IMAGES):
            place = self.folder / "images" / ("ab"[number % 2])
            place.mkdir(parents=True, exist_ok=True)
            pixels = generator.integers(0, 256, (PX, PX, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / f"{number}.png")

    def run(self, *words):
        done = subprocess.run([self.simmim, *map(str, words)], cwd=self.folder, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"simmim {' '.join(map(str, words))}: {done.stderr}")
        return done.stdout

    def images(self, names, mean, std):
        arrays = [np.asarray(Image.open(self.folder / name), dtype=np.float32) / 255 for name in names]
        x = torch.tensor(np.stack(arrays)).permute(0, 3, 1, 2)
        return (x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def settings(model):
    common = {"data.image_size": PX, "train.max_steps": 3, "train.batch_size": 4, "data.held_out": 0, "train.base_lr": 0.1}
    return [word for key, value in {**common, **model}.items() for word in ("--set", f"{key}={value}")]


def features(library, folder, model, x):
    """The mean of the patch tokens behind the last norm."""
    if library == "huggingface":
        from transformers import AutoModel

        loaded = AutoModel.from_pretrained(folder).eval()
        found = loaded(x).last_hidden_state
        return (found if "swin" in model else found[:, 1:]).mean(1)
    if library == "timm":
        import timm

        loaded = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        found = loaded.forward_features(x)
        return (found.flatten(1, 2) if "swin" in model else found[:, loaded.num_prefix_tokens :]).mean(1)
    if library == "mmpretrain":
        found = mmpretrain_backbone(folder, model)(x)[0]
        return (found.flatten(2).transpose(1, 2) if "swin" in model else found[:, 1:]).mean(1)
    return torchvision_features(folder, model, x)


def torchvision_features(folder, model, x):
    from safetensors.torch import load_file
    from torchvision.models import VisionTransformer
    from torchvision.models import swin_transformer as swin

    if "swin" in model:
        second = dict(block=swin.SwinTransformerBlockV2, downsample_layer=swin.PatchMergingV2) if model == "swinv2" else {}
        loaded = swin.SwinTransformer([2, 2], WIDTH, DEPTHS, HEADS, [WINDOW] * 2, **second)
    else:
        loaded = VisionTransformer(PX, 8, 2, 3, 24, 96)
    missing, unexpected = loaded.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    assert not unexpected, unexpected
    assert all("head" in name or "relative_" in name for name in missing), missing
    loaded.eval()
    if "swin" in model:
        return loaded.norm(loaded.features(x)).flatten(1, 2).mean(1)
    found = loaded._process_input(x)
    found = torch.cat([loaded.class_token.expand(len(x), -1, -1), found], dim=1)
    return loaded.encoder(found)[:, 1:].mean(1)


def mmpretrain_backbone(folder, model, **more):
    from mmpretrain.models.backbones import BEiTViT, SwinTransformer, SwinTransformerV2, VisionTransformer
    from safetensors.torch import load_file

    state = load_file(folder / "model.safetensors")
    vit = dict(arch=dict(embed_dims=24, num_layers=2, num_heads=3, feedforward_channels=96), img_size=PX, patch_size=8)
    swin = dict(arch=dict(embed_dims=WIDTH, depths=DEPTHS, num_heads=HEADS), img_size=PX, patch_size=2, window_size=WINDOW)
    if model == "plain":
        loaded = VisionTransformer(**vit, out_type="raw")
    elif model == "beit":
        shared = any("rel_pos_bias." in name for name in state)
        scaled = any("gamma_1" in name for name in state)
        tables = dict(use_rel_pos_bias=not shared, use_shared_rel_pos_bias=shared, layer_scale_init_value=0.1 * scaled)
        loaded = BEiTViT(**vit, **{"out_type": "raw", "final_norm": True, **tables, **more})
    elif model == "swin":
        loaded = SwinTransformer(**swin)
    else:
        swin["arch"]["extra_norm_every_n_blocks"] = 0
        loaded = SwinTransformerV2(**swin)
    state = {name.removeprefix("backbone."): value for name, value in state.items() if name.startswith("backbone.")}
    missing, unexpected = loaded.load_state_dict(state, strict=False)
    assert set(unexpected) <= {"mask_token"}, unexpected
    assert all("relative_" in name for name in missing), missing
    # Its `eval` does not return the model.
    loaded.eval()
    return loaded


def mmpretrain_logits(folder, model, x):
    """The mean of the tokens, normalised before it or behind it, and a layer."""
    from safetensors.torch import load_file

    found = mmpretrain_backbone(folder, model, out_type="avg_featmap", final_norm=False)(x)[0]
    pooled = found if model == "beit" else found.mean((2, 3))
    state = load_file(folder / "model.safetensors")
    return torch.nn.functional.linear(pooled, state["head.fc.weight"], state["head.fc.bias"])


def logits(library, folder, model, x):
    if library == "mmpretrain":
        return mmpretrain_logits(folder, model, x)
    if library == "huggingface":
        from transformers import AutoModelForImageClassification

        return AutoModelForImageClassification.from_pretrained(folder).eval()(x).logits
    import timm

    return timm.create_model(f"local-dir:{folder}", pretrained=True).eval()(x)


def compare(what, expected, found, tolerance=TOLERANCE):
    away = (torch.as_tensor(np.asarray(expected)) - torch.as_tensor(found)).abs().max().item()
    print(f"{'ok ' if away <= tolerance else 'BAD'} {what}: {away:.1e}")
    return away <= tolerance


def graph(work, run, out, *more):
    import onnxruntime

    work.run("export", "--from", run, "--to", "onnx", "--out", out, *more)
    return onnxruntime.InferenceSession(work.folder / out / "model.onnx", providers=["CPUExecutionProvider"])


def check_graphs(work, model, run, expected, x):
    session = graph(work, run, f"{model}-onnx")
    good = True
    for n in (1, 3, 16):
        (found,) = session.run(["pooled"], {"images": x[:n].numpy()})
        good &= compare(f"{model}-onnx of {n}", expected[:n], found, OF_GRAPHS)
    mean, std = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    session = graph(work, run, f"{model}-onnx-raw", "--normalise")
    (found,) = session.run(["pooled"], {"images": (x * std + mean).numpy()})
    good &= compare(f"{model}-onnx of values 0 to 1", expected, found, OF_GRAPHS)
    if model == "beit":
        return good
    from transformers import AutoModelForMaskedImageModeling

    session = graph(work, run, f"{model}-onnx-masked", "--part", "masked")
    shape = session.get_inputs()[1].shape
    mask = torch.rand([len(x), *shape[1:]], generator=torch.Generator().manual_seed(5)) < 0.6
    (found,) = session.run(["loss"], {"images": x.numpy(), "mask": mask.numpy()})
    theirs = AutoModelForMaskedImageModeling.from_pretrained(work.folder / f"{model}-huggingface").eval()
    loss = theirs(x, bool_masked_pos=mask.flatten(1)).loss
    return compare(f"{model}-onnx, masked loss", loss, found, OF_GRAPHS) and good


def check_features(work, model, libraries):
    run = f"run-{model}"
    work.run("pretrain", "--data", "images", "--recipe", "demo", "--out", run, *settings(MODELS[model][0]), "--set", "model.init=standard")
    work.run("embed", "--from", run, "--data", "images", "--out", f"{model}.npy")
    expected = np.load(work.folder / f"{model}.npy")
    names = json.loads((work.folder / f"{model}.names.json").read_text())
    x = work.images(names, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    good = True
    for library in libraries:
        out = f"{model}-{library}"
        work.run("export", "--from", run, "--to", library, "--out", out)
        good &= compare(out, expected, features(library, work.folder / out, model, x))
    good &= check_graphs(work, model, run, expected, x)
    return good, run


def check_logits(work, model, run, libraries):
    tuned = f"tuned-{model}"
    words = ["--set", "train.max_steps=2", "--set", "train.batch_size=4", "--set", "train.precision=fp32"]
    # A plain ViT of transformers reads the class token, and the mean is BEiT's.
    words += ["--set", "finetune.pool=token"] if model == "plain" else []
    work.run("finetune", "--data", "images", "--from", run, "--out", tuned, *words)
    lines = work.run("predict", "--from", tuned, "images", "--json").splitlines()
    rows = [json.loads(line) for line in lines]
    rows = [row for row in rows if "labels" in row]
    names = [row["file"] for row in rows]
    expected = [[dict((l["label"], l["probability"]) for l in row["labels"])[name] for name in "ab"] for row in rows]
    x = work.images(names, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    good = True
    for library in libraries:
        out = f"{tuned}-{library}"
        work.run("export", "--from", tuned, "--to", library, "--out", out)
        good &= compare(out, np.float32(expected), logits(library, work.folder / out, model, x).softmax(1))
    (found,) = graph(work, tuned, f"{tuned}-onnx").run(["logits"], {"images": x.numpy()})
    return compare(f"{tuned}-onnx", np.float32(expected), torch.tensor(found).softmax(1), OF_GRAPHS) and good


def main():
    good = True
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        work = Work(sys.argv[1], folder)
        for model, (_, libraries) in MODELS.items():
            fine, run = check_features(work, model, libraries)
            good &= fine
            # Its classifiers take a geometry from their caller, and mmpretrain's plain ones another head.
            without = {"torchvision"} | ({"mmpretrain"} if model == "plain" else set())
            good &= check_logits(work, model, run, [library for library in libraries if library not in without])
            work.run("export", "--from", run, "--to", "official", "--out", f"{model}-official")
            state = torch.load(work.folder / f"{model}-official" / "model.pth", weights_only=True)
            good &= "encoder.patch_embed.proj.weight" in state["model"]
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
