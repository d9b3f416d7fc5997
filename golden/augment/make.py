"""Writes what Pillow and timm make of two drawn images, and of magnitudes.

Command: pip install pillow==13.0.0 numpy && pip install --no-deps timm==1.0.31
         && python3 make.py && sha256sum *.txt *.bin > SHA256

The source images are formulas that the tests repeat, so only results are stored: one line a case in
cases.txt, the bytes of the cases one after the other in cases.bin, and one line a magnitude in
levels.txt. README.md describes the columns.
"""

import importlib.util
import pathlib

import numpy
from PIL import Image
from PIL.Image import Resampling

# timm's package needs torch; the file with the operations does not.
site = pathlib.Path(importlib.util.find_spec("timm").submodule_search_locations[0])
spec = importlib.util.spec_from_file_location("auto_augment", site / "data" / "auto_augment.py")
timm = importlib.util.module_from_spec(spec)
spec.loader.exec_module(timm)

FILL = (124, 116, 104)  # round(255 * mean) of ImageNet
FILTERS = {"bilinear": Resampling.BILINEAR, "bicubic": Resampling.BICUBIC}


def drawn(width, height, channels, levels):
    y, x, c = numpy.mgrid[:height, :width, :channels].astype(numpy.int64)
    smooth = x * 2 + y * 3 + c * 60
    rough = (x * x * 7 + y * y * 13 + x * y * 5 + c * 101) % 97
    values = (256 - levels) // 2 + (smooth + rough) % levels
    return Image.fromarray(values.astype(numpy.uint8).squeeze())


OPS = [  # operation, arguments
    ("AutoContrast", [None]),
    ("Equalize", [None]),
    ("Invert", [None]),
    ("Posterize", [1, 2, 3, 4, 8]),
    ("Solarize", [0, 26, 128, 256]),
    ("SolarizeAdd", [0, 99, 110]),
    ("Color", [0.1, 0.55, 1.0, 1.9]),
    ("Contrast", [0.1, 0.55, 1.0, 1.9]),
    ("Brightness", [0.1, 0.55, 1.0, 1.9]),
    ("Sharpness", [0.1, 0.55, 1.0, 1.9]),
]
GEOMETRY = [
    ("Rotate", [27.0, -30.0, 0.0, 3.5]),
    ("ShearX", [0.27, -0.13]),
    ("ShearY", [0.3, -0.05]),
    ("TranslateXRel", [0.405, -0.11]),
    ("TranslateYRel", [0.45, -0.2]),
]
CROPS = [  # left, top, width, height, out_height, out_width of an image of 97 x 71
    (0, 0, 97, 71, 24, 24),
    (5, 9, 80, 50, 13, 31),
    (10, 3, 33, 61, 32, 16),
    (40, 20, 17, 23, 40, 24),
    (96, 70, 1, 1, 4, 4),
    (20, 10, 24, 24, 24, 24),
]
CENTRES = [  # width, height, side of the result
    (97, 71, 48),
    (60, 97, 64),
    (40, 40, 33),
    (200, 9, 35),
    (3, 90, 40),
]

lines, results = [], []


def store(image, *columns):
    lines.append(" ".join(str(column) for column in columns))
    results.append(numpy.asarray(image).tobytes())


for channels in (3, 1):
    image = drawn(31, 26, channels, 190)
    for name, arguments in OPS:
        for argument in arguments:
            given = [] if argument is None else [argument]
            store(timm.NAME_TO_OP[name](image, *given), name, channels, argument or 0, "-")
    fill = FILL if channels == 3 else FILL[0]
    for name, arguments in GEOMETRY:
        for argument in arguments:
            for filter_name, resample in FILTERS.items():
                moved = timm.NAME_TO_OP[name](image, argument, resample=resample, fillcolor=fill)
                store(moved, name, channels, argument, filter_name)

flat = Image.new("RGB", (31, 26), (7, 200, 99))
for name in ("AutoContrast", "Equalize"):
    store(timm.NAME_TO_OP[name](flat), name + "OfFlat", 3, 0, "-")

image = drawn(97, 71, 3, 256)
for left, top, width, height, out_height, out_width in CROPS:
    crop = image.crop((left, top, left + width, top + height))
    small = crop.resize((out_width, out_height), Resampling.BICUBIC)
    store(small, "Crop", 3, left, top, width, height, out_height, out_width)

for width, height, side in CENTRES:
    # torchvision's Resize(int(256 / 224 * side)) and CenterCrop(side)
    short = int((256 / 224) * side)
    if width <= height:
        resized = (short, int(short * height / width))
    else:
        resized = (int(short * width / height), short)
    whole = drawn(width, height, 3, 256).resize(resized, Resampling.BICUBIC)
    left, top = (int(round((length - side) / 2.0)) for length in resized)
    store(whole.crop((left, top, left + side, top + side)), "Centre", 3, width, height, side)

pathlib.Path("cases.txt").write_text("\n".join(lines) + "\n")
pathlib.Path("cases.bin").write_bytes(b"".join(results))

NAMES = dict.fromkeys(timm._RAND_INCREASING_TRANSFORMS + timm._RAND_TRANSFORMS)
levels = []
for name in NAMES:
    if timm.LEVEL_TO_ARG[name] is None:
        continue
    for level in (0, 0.7, 2.5, 5, 8.3, 9, 9.51, 10):
        for sign, chance in (("-", 0.9), ("+", 0.1)):
            timm.random.random = lambda: chance
            levels.append(f"{name} {level} {sign} {timm.LEVEL_TO_ARG[name](level, {})[0]!r}")
pathlib.Path("levels.txt").write_text("\n".join(levels) + "\n")
