"""Times one step in PyTorch, of pre-training, of fine-tuning or of embedding: the peer of `simmim bench step`.

The models are those of the transformers library, the precision is that of the device's autocast, the optimiser is the
fused AdamW, the gradient is clipped to norm 5. Images are random and made once; two steps go before those that are timed.
Prints one line of JSON. Started by torchrun, several processes train together (DistributedDataParallel over Gloo), each on a batch of its
own: the peer of `simmim bench scaling`.
"""

import argparse
import json
import os
import resource
import statistics
import time

import torch
import transformers

PRECISIONS = ["fp32", "bf16"]


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=["pretrain", "finetune", "embed"], default="pretrain")
    parser.add_argument("--family", choices=["vit", "swin", "swinv2"], required=True)
    parser.add_argument("--image-size", type=int, required=True)
    parser.add_argument("--patch", type=int, required=True)
    parser.add_argument("--width", type=int, required=True, help="of a token; in a Swin transformer of the first stage")
    parser.add_argument("--depths", type=int, nargs="+", required=True, help="one number for a ViT, one a stage for Swin")
    parser.add_argument("--heads", type=int, required=True, help="in a Swin transformer of the first stage")
    parser.add_argument("--window", type=int, default=None)
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--threads", type=int, default=0, help="0: one for each core")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--compile-mode", default="default", help="of torch.compile [default]")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--tf32", action="store_true", help="let fp32 products on a GPU round their operands to TF32")
    return parser.parse_args()


# Of a fine-tuning: as many as ImageNet has.
N_CLASSES = 1000


def build(options):
    """The model, and the arguments that its step gives it besides the images."""
    if options.family == "vit":
        config = transformers.ViTConfig(
            image_size=options.image_size,
            patch_size=options.patch,
            encoder_stride=options.patch,
            hidden_size=options.width,
            intermediate_size=4 * options.width,
            num_hidden_layers=options.depths[0],
            num_attention_heads=options.heads,
            attn_implementation="sdpa",
        )
        models = {
            "pretrain": transformers.ViTForMaskedImageModeling,
            "finetune": transformers.ViTForImageClassification,
            "embed": transformers.ViTModel,
        }
        config.num_labels = N_CLASSES
        return models[options.task](config)
    prefix = "Swinv2" if options.family == "swinv2" else "Swin"
    config = getattr(transformers, f"{prefix}Config")(
        image_size=options.image_size,
        patch_size=options.patch,
        encoder_stride=options.patch * 2 ** (len(options.depths) - 1),
        embed_dim=options.width,
        depths=options.depths,
        num_heads=[options.heads * 2**stage for stage in range(len(options.depths))],
        window_size=options.window,
    )
    endings = {"pretrain": "ForMaskedImageModeling", "finetune": "ForImageClassification", "embed": "Model"}
    config.num_labels = N_CLASSES
    return getattr(transformers, prefix + endings[options.task])(config)


def inputs(options):
    """What a step gives the model besides the images."""
    if options.task == "pretrain":
        mask = torch.rand(options.batch, (options.image_size // options.patch) ** 2) < 0.6
        return {"bool_masked_pos": mask.to(options.device)}
    if options.task == "finetune":
        return {"labels": torch.arange(options.batch, device=options.device) % N_CLASSES}
    return {}


def wait(options):
    """What a GPU was given runs on after the call that gave it."""
    if options.device == "cuda":
        torch.cuda.synchronize()


def main():
    options = parse()
    torch.set_num_threads(options.threads or os.cpu_count())
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = options.tf32
    model = build(options).train(options.task != "embed").to(options.device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05, fused=True)
    images = torch.randn(options.batch, 3, options.image_size, options.image_size).to(options.device)
    others = inputs(options)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1:
        torch.distributed.init_process_group("gloo")
    run = torch.nn.parallel.DistributedDataParallel(model) if world > 1 else model
    run = torch.compile(run, mode=options.compile_mode) if options.compile else run

    def autocast():
        return torch.autocast(options.device, dtype=torch.bfloat16, enabled=options.precision == "bf16")

    def step():
        if options.task == "embed":
            with torch.inference_mode(), autocast():
                run(images).last_hidden_state.mean(dim=1)
            return
        with autocast():
            loss = run(images, **others).loss
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()

    secs = []
    for number in range(2 + options.steps):
        if world > 1:
            torch.distributed.barrier()
        wait(options)
        begun = time.perf_counter()
        step()
        wait(options)
        if number >= 2:
            secs.append(time.perf_counter() - begun)
    median = statistics.median(secs)
    line = {
        "task": options.task,
        "precision": options.precision,
        "batch": options.batch,
        "compile": options.compile,
        "threads": torch.get_num_threads(),
        "n_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "step_secs": median,
        "images_per_sec": options.batch * world / median,
        "peak_rss_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    if int(os.environ.get("RANK", "0")) == 0:
        print(json.dumps(line))
    if world > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
