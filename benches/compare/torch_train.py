"""Pre-trains and fine-tunes in PyTorch with the settings of two runs of simmim: the peer of `simmim pretrain` and `finetune`.

    python benches/compare/torch_train.py --pretrained RUN --finetuned RUN --data TRAIN --test TEST

TRAIN and TEST have one folder for each class. The settings are those of `config.toml` in the run folders: a ViT, pixels as the
target, AdamW with a cosine, for fine-tuning shifts of up to 4 px and flips. What else a configuration can ask for is refused. Views
are torchvision's, made by DataLoader workers; the model is that of `golden/make.py`. Prints a line of JSON for each epoch, the last
with the accuracy on the test images.
"""

import argparse
import json
import math
import random
import sys
import time
import tomllib
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torchvision import transforms
from torchvision.datasets import ImageFolder

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "golden"))
from make import BASE, Encoder  # noqa: E402
from pretraining import SimMIM  # noqa: E402

IMAGES_PER_BASE_LR = 512
SHIFT_PX = 4


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pretrained", type=Path, required=True, help="a run folder of `simmim pretrain`")
    parser.add_argument("--finetuned", type=Path, required=True, help="a run folder of `simmim finetune` from it")
    parser.add_argument("--data", required=True)
    parser.add_argument("--test", required=True)
    parser.add_argument("--threads", type=int, default=0, help="0: one for each core")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scratch", action="store_true", help="fine-tune fresh weights too, without layer decay")
    return parser.parse_args()


def read(run):
    config = tomllib.loads((run / "config.toml").read_text())
    model, train = config["model"], config["train"]
    # The defaults of a ViT.
    model.setdefault("positions", "shared-relative")
    model.setdefault("layer_scale", 0.1)
    model.setdefault("drop_path", 0.1)
    wanted = {
        "positions": model["positions"] in ("absolute", "relative-absolute", "relative", "shared-relative"),
        "drop_path": model["drop_path"] == 0,
        "decay": train["decay_rule"] == "standard",
        "schedule": train["schedule"] == "cosine",
        "mixing": config.get("finetune", {}).get("mixup", 0) == 0 and config.get("finetune", {}).get("cutmix", 0) == 0,
        "distortions": config.get("finetune", {}).get("rand_augment", "none") == "none",
        "target": config.get("objective", {}).get("target", "pixels") == "pixels",
    }
    unknown = [key for key, fits in wanted.items() if not fits]
    if unknown:
        sys.exit(f"{run}: this script has no {', '.join(unknown)} of this kind")
    return config


def encoder_config(config, variant, pooled):
    model, positions = config["model"], config["model"]["positions"]
    return BASE | variant | dict(
        img_size=config["data"]["image_size"], in_chans=config["data"]["channels"], mlp_ratio=model["mlp_ratio"],
        init_values=model["layer_scale"] or None, use_abs_pos_emb=positions.endswith("absolute"),
        use_rel_pos_bias=positions in ("relative", "relative-absolute"),
        use_shared_rel_pos_bias=positions == "shared-relative", use_mean_pooling=pooled)


def variant(config):
    """Width, depth and heads of a `vit-t/4` and the like."""
    model = config["model"]
    size, patch = model["variant"].split("/")
    width, depth, heads = {"vit-t": (192, 12, 3), "vit-s": (384, 12, 6), "vit-b": (768, 12, 12)}[size]
    return dict(embed_dim=model.get("width", width), depth=model.get("depth", depth), num_heads=model.get("heads", heads),
                patch_size=model.get("patch_px", int(patch)))


def draw(encoder, rule):
    """First values as `model.init` says; the patch embedding as PyTorch makes it."""
    std = 0.02 * (math.sqrt(768 / encoder.width) if rule == "width" else 1)
    for name, p in encoder.named_parameters():
        if p.ndim < 2 or name.startswith("patch_embed") or "relative_position" in name or "gamma" in name:
            continue
        nn.init.normal_(p, std=std)
        if name.endswith(("attn.proj.weight", "mlp.fc2.weight")):
            p.data.div_(math.sqrt(2 * (int(name.split(".")[1]) + 1)))
    for name, p in encoder.named_parameters():
        if name.endswith("bias") and p.ndim == 1 and not name.startswith("patch_embed"):
            nn.init.zeros_(p)


class Classifier(nn.Module):
    def __init__(self, encoder, n_classes):
        super().__init__()
        self.encoder, self.fc_norm = encoder, nn.LayerNorm(encoder.width, eps=1e-6)
        self.head = nn.Linear(encoder.width, n_classes)
        nn.init.normal_(self.head.weight, std=0.02 * 1e-3)
        nn.init.zeros_(self.head.bias)

    def forward(self, image):
        h, w = (side // self.encoder.stride for side in image.shape[2:])
        nothing = torch.zeros(len(image), h, w)
        return self.head(self.fc_norm(self.encoder(image, nothing).flatten(2).mean(2)))


def rate(train, step, n_steps, steps_per_epoch):
    """The learning rate of a step: linear to `base_lr`, then a cosine that counts from the first step."""
    scale = train["batch_size"] / IMAGES_PER_BASE_LR
    base, least, first = (train[key] * scale for key in ("base_lr", "min_lr", "warmup_lr"))
    warmup = round(train["warmup_epochs"] * steps_per_epoch)
    if step < warmup:
        return first + (base - first) * step / warmup
    return least + (base - least) * (1 + math.cos(math.pi * step / n_steps)) / 2


def is_exempt(name, p):
    """`train.decay_rule = "standard"`: neither vectors nor tokens nor tables of positions decay."""
    return p.ndim == 1 or name.endswith(("pos_embed", "_token", "relative_position_bias_table"))


def optimise(model, groups, train, batches, loss_of, told):
    """One training: `batches` makes an epoch's batches, `told` is called with an epoch's mean loss."""
    optimiser = torch.optim.AdamW(groups, betas=tuple(train["betas"]), eps=train["eps"], fused=True)
    steps_per_epoch = len(batches)
    n_steps, step = train["epochs"] * steps_per_epoch, 0
    for epoch in range(train["epochs"]):
        model.train()
        losses = []
        for batch in batches:
            for group in optimiser.param_groups:
                group["lr"] = group["scale"] * rate(train, step, n_steps, steps_per_epoch)
            optimiser.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=train["precision"] == "bf16"):
                loss = loss_of(*batch)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), train["clip_norm"])
            optimiser.step()
            losses.append(loss.item())
            step += 1
        told(epoch + 1, sum(losses) / len(losses))


def masks(config, n, generator):
    """[n, h, w], ones where cells are hidden; rounded up to whole cells."""
    size, cell, patch = config["data"]["image_size"], config["mask"]["cell_px"], variant(config)["patch_size"]
    h, w = (side // cell for side in size)
    n_hidden = math.ceil(h * w * config["mask"]["ratio"])
    order = torch.rand(n, h * w, generator=generator).argsort(1)
    cells = (order < n_hidden).float().view(n, h, w)
    return cells.repeat_interleave(cell // patch, 1).repeat_interleave(cell // patch, 2)


def views(data, train):
    """From a decoded image to a tensor: for pre-training, fine-tuning ("shift") or measuring (None)."""
    size, channels = data["image_size"], data["channels"]
    steps = [transforms.Grayscale()] if channels == 1 else []
    if train == "crop":
        steps.append(transforms.RandomResizedCrop(size, tuple(data["crop_scale"]), tuple(data["crop_ratio"])))
    else:
        steps.append(transforms.Resize(size))
        if train == "shift":
            steps.append(transforms.RandomCrop(size, padding=SHIFT_PX))
    if train and data["flip"]:
        steps.append(transforms.RandomHorizontalFlip())
    return transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(data["mean"], data["std"])])


def loader(images, batch, options, shuffle):
    return torch.utils.data.DataLoader(
        images, batch, shuffle=shuffle, drop_last=shuffle, num_workers=options.workers,
        persistent_workers=options.workers > 0, generator=torch.Generator().manual_seed(options.seed))


def pretrain(config, options):
    data, train = config["data"], config["train"]
    images = ImageFolder(options.data, views(data, "crop"))
    plain = ImageFolder(options.data, views(data, None))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(options.seed)).tolist()
    n_held_out = min(int(len(images) * data["held_out"]), data["held_out_max"])
    held_out = torch.utils.data.Subset(plain, order[:n_held_out])
    batches = loader(torch.utils.data.Subset(images, order[n_held_out:]), train["batch_size"], options, True)
    arguments = encoder_config(config, variant(config), False)
    model = SimMIM(Encoder(arguments), arguments)
    draw(model.encoder, config["model"]["init"])
    drawn, started = torch.Generator().manual_seed(options.seed), time.time()

    def loss_of(batch, _):
        return model(batch, masks(config, len(batch), drawn))[2]

    def told(epoch, loss):
        model.eval()
        fixed, losses = torch.Generator().manual_seed(1), []
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=train["precision"] == "bf16"):
            for batch, _ in loader(held_out, train["batch_size"], options, False):
                losses += [model(batch, masks(config, len(batch), fixed))[2].item()] * len(batch)
        say(task="pretrain", epoch=epoch, loss=loss, held_out_loss=sum(losses) / len(losses), seconds=time.time() - started)

    groups = [dict(params=[p], weight_decay=0.0 if is_exempt(name, p) else train["weight_decay"], scale=1.0)
              for name, p in model.named_parameters()]
    optimise(model, groups, train, batches, loss_of, told)
    return model.encoder


def few(images, share, seed):
    """The same share of every class, at least one."""
    by_class, choice = {}, random.Random(seed)
    for idx, label in enumerate(images.targets):
        by_class.setdefault(label, []).append(idx)
    return [idx for members in by_class.values() for idx in choice.sample(members, max(1, round(share * len(members))))]


def finetune(config, encoder, options, start):
    data, train, own = config["data"], config["train"], config["finetune"]
    images = ImageFolder(options.data, views(data, "shift"))
    test = ImageFolder(options.test, views(data, None))
    batches = loader(torch.utils.data.Subset(images, few(images, own["labels"], options.seed)), train["batch_size"], options, True)
    fresh = Encoder(encoder_config(config, variant(config), True))
    if encoder is None:
        draw(fresh, config["model"]["init"])
    else:
        fresh.load_state_dict(encoder.state_dict(), strict=False)
    model, started = Classifier(fresh, len(images.classes)), time.time()
    depth = len(fresh.blocks)

    def layer(name):
        if name.startswith("encoder.blocks."):
            return 1 + int(name.split(".")[2])
        is_embedding = name.startswith(("encoder.patch_embed", "encoder.pos_embed", "encoder.cls_token", "encoder.mask_token"))
        return 0 if is_embedding else depth + 1

    decay = own["layer_decay"] if encoder is not None else 1.0
    groups = [dict(params=[p], weight_decay=0.0 if is_exempt(name, p) else train["weight_decay"],
                   scale=decay ** (depth + 1 - layer(name))) for name, p in model.named_parameters()]
    measured = []

    def told(epoch, loss):
        if epoch == train["epochs"]:
            measured.append(accuracy(model, loader(test, 256, options, False)))
            say(task="finetune", start=start, epoch=epoch, loss=loss, top1=measured[-1], seconds=time.time() - started)

    optimise(model, groups, train, batches,
             lambda batch, labels: F.cross_entropy(model(batch), labels, label_smoothing=own["smoothing"]), told)


def accuracy(model, batches):
    model.eval()
    with torch.no_grad():
        right = [(model(images).argmax(1) == labels).float() for images, labels in batches]
    return torch.cat(right).mean().item()


def say(**fields):
    print(json.dumps(fields), flush=True)


def main():
    options = parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    encoder = pretrain(read(options.pretrained), options)
    config = read(options.finetuned)
    finetune(config, encoder, options, "pretrained")
    if options.scratch:
        finetune(config, None, options, "scratch")


if __name__ == "__main__":
    main()
