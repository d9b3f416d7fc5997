"""Writes what timm makes of batches that are mixed, of their targets, and of images that lose a rectangle.

Command: pip install numpy torch==2.15.0 && pip install --no-deps timm==1.0.31
         && python3 make_mix.py && sha256sum *.txt *.bin > SHA256

The source images are the formula of make.py, which the tests repeat. What timm draws is given to it, so
that a case is a function of its line; README.md describes the columns.
"""

import importlib.util
import math
import pathlib
from unittest import mock

import numpy
import torch

# timm's package needs torchvision; the two files do not.
site = pathlib.Path(importlib.util.find_spec("timm").submodule_search_locations[0])


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, site / "data" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


mixup, random_erasing = loaded("mixup"), loaded("random_erasing")

LEVELS = 190  # 33 to 222
ERASED = 255  # no level of a drawn image


def drawn(n, channels, height, width):
    """Images whose planes are the channels of one image of make.py."""
    y, x, c = numpy.mgrid[:height, :width, : n * channels].astype(numpy.int64)
    smooth = x * 2 + y * 3 + c * 60
    rough = (x * x * 7 + y * y * 13 + x * y * 5 + c * 101) % 97
    values = (256 - LEVELS) // 2 + (smooth + rough) % LEVELS
    planes = numpy.ascontiguousarray(values.transpose(2, 0, 1))
    return torch.from_numpy(planes).float().reshape(n, channels, height, width)


def returning(values):
    """A function that returns these values, one after the other, whatever it is asked."""
    values = iter(values)
    return lambda *_, **__: next(values)


def joined(values, by=" "):
    return by.join(str(value) for value in values)


def write(name, lines, results=None):
    pathlib.Path(f"{name}.txt").write_text("\n".join(lines) + "\n")
    if results is not None:
        pathlib.Path(f"{name}.bin").write_bytes(b"".join(results))


def stored(images):
    return images.round().to(torch.uint8).numpy().tobytes()


def box_of(size, kept, middle):
    with mock.patch("numpy.random.randint", returning(middle)):
        (top, bottom, left, right), corrected = mixup.cutmix_bbox_and_lam(size, kept)
    return *(int(v) for v in (top, left, bottom - top, right - left)), float(corrected)


def middles(height, width):
    last = (height - 1, width - 1)
    return dict.fromkeys([(0, 0), last, (0, last[1]), (height // 2, width // 2), (height // 3, last[1] * 4 // 5)])


boxes = []
for size in [(224, 224), (192, 192), (12, 17), (97, 64), (7, 9), (1, 5), (1, 1)]:
    for kept in (0.0, 0.05, 0.19, 0.36, 0.5, 0.7213, 0.9375, 0.99, 0.99999, 1.0):
        for middle in middles(*size):
            boxes.append(joined([*size, kept, *middle, *box_of(size, kept, middle)]))
write("boxes", boxes)

MIXED = [  # samples, channels, height, width
    (4, 3, 8, 11),
    (5, 1, 9, 8),
]
lines, results = [], []
for shape in MIXED:
    for kept in (0.0, 0.3, 0.5, 0.8125, 0.97, 1.0):
        for middle in (None, *middles(*shape[2:])):
            images = drawn(*shape)
            mixing = mixup.Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, switch_prob=0.5)
            # Whether a batch is mixed, and whether by CutMix.
            chances = (0.0, 0.9 if middle is None else 0.1)
            with (
                mock.patch("numpy.random.rand", returning(chances)),
                mock.patch("numpy.random.beta", returning([kept])),
                mock.patch("numpy.random.randint", returning(middle or ())),
            ):
                corrected = float(mixing._mix_batch(images))
            kind = ["Fade"] if middle is None else ["Paste", *middle]
            lines.append(joined([*shape, kept, corrected, *kind]))
            results.append(stored(images))
write("mixed", lines, results)

LABELS = [  # classes, the classes of each sample
    (2, [[0], [1]]),
    (3, [[2], [0], [0], [1]]),
    (10, [[9], [3], [3], [0], [7], [1]]),
    (5, [[4], [1], [2]]),
    (4, [[0, 2], [], [1], [0, 1, 2, 3]]),
]
lines = []
for n_classes, samples in LABELS:
    multi_label = any(len(classes) != 1 for classes in samples)
    target = torch.tensor([classes[0] for classes in samples if classes])
    if multi_label:
        target = torch.tensor([[float(k in classes) for k in range(n_classes)] for classes in samples])
    for smoothing in (0.0, 0.1, 0.37):
        for kept in (1.0, 0.0, 0.25, 0.6180339887):
            mixed = mixup.mixup_target(target, n_classes, kept, smoothing, multi_label)
            kind = "several" if multi_label else "one"
            labels = joined((joined(classes, "+") or "-" for classes in samples), ",")
            values = joined((f"{value:.9g}" for value in mixed.flatten().tolist()), ",")
            lines.append(joined([kind, n_classes, smoothing, kept, labels, values]))
write("targets", lines)

ERASURES = [  # channels, height, width, share of the area, ratio, top, left
    (3, 16, 20, 0.02, 1.0, 0, 0),
    (3, 16, 20, 1 / 3, 0.7, 4, 8),
    (3, 16, 20, 0.11, 0.3, 13, 8),
    (3, 16, 20, 0.11, 1 / 0.3, 5, 17),
    (1, 16, 20, 0.2, 1.9, 5, 7),
    (1, 9, 31, 0.25, 0.5, 3, 0),
    (1, 16, 20, 6.25 / 320, 1.0, 7, 3),  # half a pixel: to the even number, 2
    (1, 16, 20, 12.25 / 320, 1.0, 1, 2),  # to 4
    (1, 9, 31, 0.008064516129032258, 1.0, 6, 0),  # half a pixel if the area is computed as timm does
    (1, 16, 20, 0.0005, 1.0, 11, 3),  # nothing
    (1, 16, 20, 1 / 3, 3.0, 0, 0),  # too high: it is left whole
    (1, 16, 20, 0.8, 1.0, 0, 0),  # as high as the image: the same
    (2, 40, 7, 0.3, 0.3, 0, 0),  # too wide
    (2, 1, 1, 0.2, 1.0, 0, 0),
]
lines, results = [], []
for channels, height, width, share, ratio, top, left in ERASURES:
    image = drawn(1, channels, height, width)
    erasing = random_erasing.RandomErasing(probability=1.0, mode="pixel", device="cpu")
    found = []

    def noise(per_pixel, _, patch_size, **__):
        assert per_pixel
        found.extend(patch_size[1:])
        return torch.full(patch_size, float(ERASED))

    tries = [share, math.log(ratio)] * 10
    with (
        mock.patch("random.random", lambda: 0.5),
        mock.patch("random.uniform", returning(tries)),
        mock.patch("random.randint", returning([top, left])),
        mock.patch.object(random_erasing, "_get_pixels", noise),
    ):
        erasing(image[0])
    lines.append(joined([channels, height, width, share, ratio, top, left, *(found or "--")]))
    results.append(stored(image))
write("erased", lines, results)
