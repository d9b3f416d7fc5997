"""Writes cases.bin, crops of one drawn image resized by Pillow (bilinear, antialiased), and lanczos.bin, the whole made smaller.

Command: pip install pillow==13.0.0 numpy && python3 make.py && sha256sum cases.bin lanczos.bin > SHA256

The source image is a formula that the test repeats, so only the results are stored. Layout of
both files, all numbers little-endian u16: for each case left, top, width, height, out_height,
out_width, then out_height x out_width x 3 bytes.
"""

import struct

import numpy
from PIL import Image

WIDTH, HEIGHT = 97, 71


def source():
    y, x, c = numpy.mgrid[:HEIGHT, :WIDTH, :3].astype(numpy.int64)
    smooth = x * 2 + y * 3 + c * 60
    rough = (x * x * 7 + y * y * 13 + x * y * 5 + c * 101) % 97
    return ((smooth + rough) % 256).astype(numpy.uint8)


CASES = [  # left, top, width, height, out_height, out_width
    (0, 0, 97, 71, 24, 24),
    (5, 9, 80, 50, 13, 31),
    (10, 3, 33, 61, 32, 16),
    (40, 20, 17, 23, 40, 24),
    (60, 50, 8, 5, 19, 33),
    (96, 70, 1, 1, 4, 4),
    (0, 30, 97, 2, 8, 20),
    (20, 10, 24, 24, 24, 24),
]

WHOLE = [(0, 0, WIDTH, HEIGHT, out_height, out_width) for out_height, out_width in [(24, 33), (70, 96), (9, 12), (1, 2)]]


def write(path, cases, kernel):
    image = Image.fromarray(source())
    with open(path, "wb") as out:
        for left, top, width, height, out_height, out_width in cases:
            crop = image.crop((left, top, left + width, top + height))
            small = crop.resize((out_width, out_height), kernel)
            out.write(struct.pack("<6H", left, top, width, height, out_height, out_width))
            out.write(numpy.asarray(small).tobytes())


write("cases.bin", CASES, Image.Resampling.BILINEAR)
write("lanczos.bin", WHOLE, Image.Resampling.LANCZOS)
