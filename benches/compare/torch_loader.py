"""Times the pre-training views of a folder of classes in torchvision: the peer of `simmim bench loader`.

Decode, a random crop of 0.67 to 1 of the image resized with antialiasing, a flip, normalisation, batches. The best and the
median of three passes; images that do not fill a last batch are left out. Prints one line of JSON.
"""

import argparse
import json
import statistics
import time

import torch
import torchvision
from torchvision import transforms

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    view = transforms.Compose(
        [
            transforms.RandomResizedCrop(options.size, scale=(0.67, 1.0)),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    images = torchvision.datasets.ImageFolder(options.data, view)
    loader = torch.utils.data.DataLoader(
        images, batch_size=options.batch, shuffle=True, num_workers=options.workers, drop_last=True
    )
    rates = []
    for _ in range(3):
        begun = time.perf_counter()
        count = sum(len(batch) for batch, _ in loader)
        rates.append(count / (time.perf_counter() - begun))
    line = {
        "images_per_sec": max(rates),
        "images_per_sec_median": statistics.median(rates),
        "torchvision": torchvision.__version__,
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
