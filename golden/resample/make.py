#!/usr/bin/env python3
"""Tables of positions resampled by other hands: SciPy's bicubic spline (FITPACK), PyTorch's bicubic convolution.

    pip install numpy scipy torch safetensors
    python golden/resample/make.py

Writes tables.safetensors. For each case `relative.CASE.from` [h, w, N] and `.to` [h', w', N] (offsets along each axis), or
`absolute.CASE.from` [h, w, D] and `.to` [h', w', D].
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from scipy.interpolate import RectBivariateSpline

RELATIVE = {"11_to_13": ((11, 11), (13, 13)), "13_to_11": ((13, 13), (11, 11)), "23_to_27": ((23, 23), (27, 27)),
            "7_to_23": ((7, 7), (23, 23)), "oblong": ((5, 13), (9, 11)), "one_axis": ((7, 9), (7, 15)),
            "three": ((3, 3), (7, 5))}
ABSOLUTE = {"14_to_16": ((14, 14), (16, 16)), "oblong": ((4, 6), (3, 11)), "smaller": ((12, 12), (5, 7))}


def ratio(source, target):
    """The geometric sequence with `source` // 2 terms whose sum reaches `target` // 2, by bisection."""
    left, right = 1.01, 1.5
    while right - left > 1e-6:
        q = (left + right) / 2
        if (1 - q ** (source // 2)) / (1 - q) > target // 2:
            right = q
        else:
            left = q
    return q


def offsets(source, target):
    q, distance, distances = ratio(source, target), 1.0, []
    for step in range(source // 2):
        distances.append(distance)
        distance += q ** (step + 1)
    return np.array([-d for d in reversed(distances)] + [0.0] + distances)


def relative(table, target):
    axes = [offsets(s, t) if s != t else np.arange(s) - s // 2 for s, t in zip(table.shape, target)]
    # FITPACK does not extrapolate, it takes the value at the edge.
    wanted = [np.clip(np.arange(t) - t // 2, axis[0], axis[-1]).astype(float) for axis, t in zip(axes, target)]
    degrees = [min(3, s - 1) for s in table.shape[:2]]
    heads = [RectBivariateSpline(*axes, table[..., n], kx=degrees[0], ky=degrees[1], s=0)(*wanted)
             for n in range(table.shape[2])]
    return np.stack(heads, axis=-1)


def absolute(positions, target):
    picture = torch.from_numpy(positions).permute(2, 0, 1)[None]
    resampled = torch.nn.functional.interpolate(picture, size=target, mode="bicubic", align_corners=False)
    return resampled[0].permute(1, 2, 0).numpy()


def main():
    generator, arrays = np.random.default_rng(7), {}
    for kind, cases, resample in (("relative", RELATIVE, relative), ("absolute", ABSOLUTE, absolute)):
        for name, (source, target) in cases.items():
            table = generator.standard_normal((*source, 2)).astype(np.float32).astype(np.float64)
            arrays[f"{kind}.{name}.from"] = table
            arrays[f"{kind}.{name}.to"] = resample(table, target)
    arrays = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()}
    save_file(arrays, Path(__file__).resolve().parent / "tables.safetensors")


if __name__ == "__main__":
    main()
