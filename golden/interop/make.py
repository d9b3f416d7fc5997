"""Small models of other libraries with random weights: their files as the libraries write them, and what they compute.

    python -m venv venv && venv/bin/pip install -r golden/interop/requirements.txt
    venv/bin/python golden/interop/make.py            # writes golden/interop/NAME/
    venv/bin/python golden/interop/make.py mm_swin    # only those whose names begin so

Each folder has the weights (`model.safetensors`) with the configuration beside them (`config.json`) where the library writes
one, and `expected.safetensors`: the images that went in (`image`), and what came out. `features` are the patch tokens behind
the last norm, `[B, L, D]`; `pooled` what the head sees; `logits`; `loss` that of masked pixels, of the masks in `mask`.

Shapes: B batch, L tokens, D width.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent
IMAGE_PX = 32
BATCH = 2
N_LABELS = 5


def randomised(model):
    """No parameter keeps a value that would hide a mistake: not zero, not one, not the same for all."""
    generator = torch.Generator().manual_seed(7)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        is_scale = parameter.ndim == 1 and ("norm" in name or ".ln" in name) and name.endswith("weight")
        with torch.no_grad():
            # Fixed tables of sines are parameters too, in some of these.
            parameter.copy_(1 + 0.2 * noise if is_scale else 0.15 * noise)
    model.eval()
    return model


def images(px=IMAGE_PX, channels=3):
    return torch.randn((BATCH, channels, px, px), generator=torch.Generator().manual_seed(11))


def mask(n):
    """About half of n patches of each image."""
    return torch.rand((BATCH, n), generator=torch.Generator().manual_seed(13)) < 0.5


def tokens(x):
    """[B, h, w, D] as [B, L, D]."""
    return x.flatten(1, -2)


def write(name, state, expected, config=None):
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    state = {key: value.detach().clone().contiguous() for key, value in state.items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    expected = {key: value.detach().float().contiguous() for key, value in expected.items()}
    save_file(expected, folder / "expected.safetensors")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    print(name, sum(file.stat().st_size for file in folder.iterdir()))


def saved(name, model, expected, state=None):
    """A model of transformers, as it saves itself; with `state` under the names that it has in memory, as some tools write them."""
    folder = HERE / name
    model.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    for key in ("transformers_version", "_name_or_path"):
        config.pop(key, None)
    write(name, state or load(folder / "model.safetensors"), expected, config)


def load(path):
    from safetensors.torch import load_file

    return load_file(path)


VIT = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=48, image_size=IMAGE_PX, patch_size=8)
SWIN = dict(image_size=IMAGE_PX, patch_size=2, embed_dim=12, depths=[2, 2], num_heads=[2, 4], window_size=4, mlp_ratio=2.0)


def hf_vit():
    from transformers import ViTConfig, ViTForImageClassification

    model = randomised(ViTForImageClassification(ViTConfig(**VIT, num_labels=N_LABELS)))
    x = images()
    found = model.vit(x).last_hidden_state
    expected = {"image": x, "features": found[:, 1:], "pooled": found[:, 0], "logits": model(x).logits}
    saved("hf_vit", model, expected, model.state_dict())


def hf_vit_mim():
    from transformers import ViTConfig, ViTForMaskedImageModeling

    model = randomised(ViTForMaskedImageModeling(ViTConfig(**VIT, encoder_stride=8)))
    x, hidden = images(), mask(16)
    expected = {
        "image": x,
        "features": model.vit(x).last_hidden_state[:, 1:],
        "mask": hidden,
        "loss": model(x, bool_masked_pos=hidden).loss.reshape(1),
    }
    saved("hf_vit_mim", model, expected)


def hf_mae():
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    decoder = dict(
        decoder_num_hidden_layers=1,
        decoder_hidden_size=16,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=32,
    )
    model = randomised(ViTMAEForPreTraining(ViTMAEConfig(**VIT, **decoder, mask_ratio=0.0)))
    x = images()
    # Nothing hidden, and patches in their own order.
    order = torch.arange(16.0).expand(BATCH, 16)
    saved("hf_mae", model, {"image": x, "features": model.vit(x, noise=order).last_hidden_state[:, 1:]})


def hf_dinov2():
    from transformers import Dinov2Config, Dinov2Model

    config = {**VIT, "mlp_ratio": 2}
    config.pop("intermediate_size")
    model = randomised(Dinov2Model(Dinov2Config(**config)))
    x = images()
    found = model(x).last_hidden_state
    saved("hf_dinov2", model, {"image": x, "features": found[:, 1:]})


def hf_beit():
    from transformers import BeitConfig, BeitForImageClassification

    config = BeitConfig(**VIT, use_relative_position_bias=True, num_labels=N_LABELS)
    model = randomised(BeitForImageClassification(config))
    x = images()
    expected = {"image": x, "pooled": model.beit(x).pooler_output, "logits": model(x).logits}
    saved("hf_beit", model, expected)


def hf_beit_shared():
    from transformers import BeitConfig, BeitModel

    config = BeitConfig(
        **VIT,
        use_shared_relative_position_bias=True,
        use_absolute_position_embeddings=True,
        use_mask_token=True,
        use_mean_pooling=False,
    )
    model = randomised(BeitModel(config, add_pooling_layer=False))
    x = images()
    saved("hf_beit_shared", model, {"image": x, "features": model(x).last_hidden_state[:, 1:]})


def hf_swin_mim():
    from transformers import SwinConfig, SwinForMaskedImageModeling

    model = randomised(SwinForMaskedImageModeling(SwinConfig(**SWIN, encoder_stride=4)))
    x, hidden = images(), mask(256)
    expected = {
        "image": x,
        "features": model.swin(x).last_hidden_state,
        "mask": hidden,
        "loss": model(x, bool_masked_pos=hidden).loss.reshape(1),
    }
    saved("hf_swin_mim", model, expected)


def hf_swin():
    from transformers import SwinConfig, SwinForImageClassification

    model = randomised(SwinForImageClassification(SwinConfig(**SWIN, num_labels=N_LABELS)))
    x = images()
    found = model.swin(x)
    expected = {
        "image": x,
        "features": found.last_hidden_state,
        "pooled": found.pooler_output,
        "logits": model(x).logits,
    }
    saved("hf_swin", model, expected, model.state_dict())


def hf_swinv2_mim():
    from transformers import Swinv2Config, Swinv2ForMaskedImageModeling

    model = randomised(Swinv2ForMaskedImageModeling(Swinv2Config(**SWIN, encoder_stride=4)))
    x, hidden = images(), mask(256)
    expected = {
        "image": x,
        "features": model.swinv2(x).last_hidden_state,
        "mask": hidden,
        "loss": model(x, bool_masked_pos=hidden).loss.reshape(1),
    }
    saved("hf_swinv2_mim", model, expected)


def timm_config(architecture, arguments, pooling):
    """As `timm.models.save_for_hf` writes it."""
    return {
        "architecture": architecture,
        "num_classes": N_LABELS,
        "num_features": arguments["embed_dim"],
        "global_pool": pooling,
        "model_args": arguments,
        "label_names": [f"kind {number}" for number in range(N_LABELS)],
        "pretrained_cfg": {
            "input_size": [3, IMAGE_PX, IMAGE_PX],
            "mean": [0.5, 0.5, 0.5],
            "std": [0.25, 0.25, 0.25],
        },
    }


def timm_vit(name="timm_vit", **changes):
    from timm.models.vision_transformer import VisionTransformer

    arguments = dict(img_size=IMAGE_PX, patch_size=8, embed_dim=24, depth=2, num_heads=3, mlp_ratio=2.0, **changes)
    model = randomised(VisionTransformer(**arguments, num_classes=N_LABELS))
    x = images()
    found = model.forward_features(x)
    expected = {"image": x, "pooled": model.forward_head(found, pre_logits=True), "logits": model(x)}
    pooling = changes.get("global_pool", "token")
    # With a norm behind the mean, features are not normalised.
    if pooling == "token":
        expected["features"] = found[:, model.num_prefix_tokens :]
    write(name, model.state_dict(), expected, timm_config("vit_tiny_patch16_224", arguments, pooling))


def timm_vit_scaled():
    timm_vit("timm_vit_scaled", init_values=0.1, no_embed_class=True, qkv_bias=False)


def timm_vit_mean():
    timm_vit("timm_vit_mean", global_pool="avg", class_token=False)


def timm_swin():
    from timm.models.swin_transformer import SwinTransformer

    write_swin("timm_swin", SwinTransformer, "swin_tiny_patch4_window7_224")


def timm_swinv2():
    from timm.models.swin_transformer_v2 import SwinTransformerV2

    write_swin("timm_swinv2", SwinTransformerV2, "swinv2_tiny_window8_256")


def write_swin(name, kind, architecture):
    arguments = dict(img_size=IMAGE_PX, **{key: value for key, value in SWIN.items() if key != "image_size"})
    model = randomised(kind(**arguments, num_classes=N_LABELS))
    x = images()
    found = model.forward_features(x)
    expected = {
        "image": x,
        "features": tokens(found),
        "pooled": model.forward_head(found, pre_logits=True),
        "logits": model(x),
    }
    write(name, model.state_dict(), expected, timm_config(architecture, arguments, "avg"))


def torchvision_vit():
    from torchvision.models import VisionTransformer

    model = randomised(
        VisionTransformer(
            image_size=IMAGE_PX, patch_size=8, num_layers=1, num_heads=1, hidden_dim=64, mlp_dim=128, num_classes=N_LABELS
        )
    )
    x = images()
    found = model._process_input(x)
    found = torch.cat([model.class_token.expand(BATCH, -1, -1), found], dim=1)
    found = model.encoder(found)
    expected = {"image": x, "features": found[:, 1:], "pooled": found[:, 0], "logits": model(x)}
    write("torchvision_vit", model.state_dict(), expected)


def torchvision_swin(name="torchvision_swin", **changes):
    from torchvision.models.swin_transformer import SwinTransformer

    arguments = dict(patch_size=[2, 2], embed_dim=12, depths=[2, 2], num_heads=[2, 4], window_size=[4, 4], mlp_ratio=2.0)
    model = randomised(SwinTransformer(**arguments, num_classes=N_LABELS, **changes))
    x = images()
    found = model.norm(model.features(x))
    expected = {"image": x, "features": tokens(found), "pooled": tokens(found).mean(1), "logits": model(x)}
    write(name, model.state_dict(), expected)


def torchvision_swinv2():
    from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2

    torchvision_swin("torchvision_swinv2", block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2)


def mm_vit():
    from mmpretrain.models.backbones import VisionTransformer

    arch = dict(embed_dims=64, num_layers=1, num_heads=1, feedforward_channels=128)
    model = randomised(VisionTransformer(arch=arch, img_size=IMAGE_PX, patch_size=8, out_type="raw"))
    x = images()
    expected = {"image": x, "features": model(x)[0][:, 1:]}
    state = {f"backbone.{key}": value for key, value in model.state_dict().items()}
    write("mm_vit", state, expected)


def mm_swin():
    from mmpretrain.models.selfsup import SimMIMSwinTransformer

    arch = dict(embed_dims=8, depths=[2, 1, 1, 1], num_heads=[1, 2, 4, 8])
    model = randomised(SimMIMSwinTransformer(arch=arch, img_size=64, stage_cfgs=dict(block_cfgs=dict(window_size=2))))
    x = images(64)
    hidden = mask(256)
    expected = {
        "image": x,
        "features": model(x, torch.zeros(BATCH, 16, 16))[0].flatten(2).transpose(1, 2),
        "mask": hidden,
        "masked": model(x, hidden.reshape(BATCH, 16, 16))[0].flatten(2).transpose(1, 2),
    }
    state = {f"backbone.{key}": value for key, value in model.state_dict().items()}
    write("mm_swin", state, expected)


def mm_beit():
    from mmpretrain.models.backbones import BEiTViT

    arch = dict(embed_dims=24, num_layers=2, num_heads=3, feedforward_channels=48)
    model = randomised(BEiTViT(arch=arch, img_size=IMAGE_PX, patch_size=8))
    head = randomised(torch.nn.Linear(24, N_LABELS))
    x = images()
    pooled = model(x)[0]
    state = {f"backbone.{key}": value for key, value in model.state_dict().items()}
    state |= {f"head.fc.{key}": value for key, value in head.state_dict().items()}
    write("mm_beit", state, {"image": x, "pooled": pooled, "logits": head(pooled)})


def mm_swinv2():
    from mmpretrain.models.backbones import SwinTransformerV2

    arch = dict(embed_dims=8, depths=[2, 1, 1, 1], num_heads=[1, 2, 4, 8], extra_norm_every_n_blocks=0)
    model = randomised(SwinTransformerV2(arch=arch, img_size=64, window_size=[4, 4, 4, 2], pretrained_window_sizes=[3, 3, 3, 2]))
    x = images(64)
    state = {f"backbone.{key}": value for key, value in model.state_dict().items()}
    write("mm_swinv2", state, {"image": x, "features": model(x)[0].flatten(2).transpose(1, 2)})


def patches():
    """What timm makes of a layer of patches for others."""
    from timm.layers.patch_embed import resample_patch_embed
    from timm.models._manipulate import adapt_input_conv

    old = torch.randn((2, 3, 4, 4), generator=torch.Generator().manual_seed(17))
    made = {"patches": old}
    for side in (2, 3, 5, 6, 8):
        made[f"side_{side}"] = resample_patch_embed(old, [side, side])
    for channels in (1, 2, 4, 5, 7):
        made[f"channels_{channels}"] = adapt_input_conv(channels, old)
    made = {key: value.contiguous() for key, value in made.items()}
    save_file(made, HERE / "patches.safetensors")


MODELS = [
    patches,
    timm_vit,
    timm_vit_scaled,
    timm_vit_mean,
    timm_swin,
    timm_swinv2,
    hf_vit,
    hf_vit_mim,
    hf_mae,
    hf_dinov2,
    hf_beit,
    hf_beit_shared,
    hf_swin_mim,
    hf_swin,
    hf_swinv2_mim,
    torchvision_vit,
    torchvision_swin,
    torchvision_swinv2,
    mm_vit,
    mm_beit,
    mm_swin,
    mm_swinv2,
]


def main():
    wanted = sys.argv[1:]
    for make in MODELS:
        if not wanted or any(make.__name__.startswith(word) for word in wanted):
            torch.manual_seed(0)
            with torch.inference_mode():
                make()


if __name__ == "__main__":
    main()
