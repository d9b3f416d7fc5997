"""Runs the ONNX graphs that this project writes in onnxruntime and compares them with this project's own results.

    python golden/interop/check_onnx.py

Needs onnx, onnxruntime, numpy, safetensors (checked with 1.23, 1.32) and cargo. Every kind of model that has a graph, at 1, 3 and
16 images; each file must also pass `onnx.checker` with the inference of all shapes. Ends with status 1 if anything differs by more than 1e-3.
"""

import pathlib
import subprocess
import tempfile

import numpy
import onnx
import onnxruntime
from safetensors.numpy import load_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOLERANCE = 1e-3


def difference(path, n_images, session):
    data = load_file(path.with_suffix(f".{n_images}.safetensors"))
    expected = {name[7:]: value for name, value in data.items() if name.startswith("output.")}
    inputs = {given.name: data[given.name] for given in session.get_inputs()}
    names = [result.name for result in session.get_outputs()]
    assert sorted(names) == sorted(expected), (names, list(expected))
    most = 0.0
    for name, found in zip(names, session.run(names, inputs)):
        assert found.shape == expected[name].shape, (path.stem, name, found.shape)
        assert numpy.abs(expected[name]).max() > 0.05, (path.stem, name)
        most = max(most, float(numpy.abs(found - expected[name]).max()))
    return most


def main():
    with tempfile.TemporaryDirectory() as name:
        command = ["cargo", "run", "--release", "--quiet", "--locked", "-p", "simmim-onnx", "--example", "write_onnx", "--", name]
        subprocess.run(command, cwd=ROOT, check=True)
        paths = sorted(pathlib.Path(name).glob("*.onnx"))
        assert len(paths) > 10, paths
        worst = 0.0
        for path in paths:
            model = onnx.load(path)
            onnx.checker.check_model(model, full_check=True)
            assert model.opset_import[0].version == 17 and model.metadata_props[0].value == path.stem
            assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
            session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            most = [difference(path, n_images, session) for n_images in (1, 3, 16)]
            print(f"{path.stem:20} {max(most):.1e}")
            worst = max(worst, *most)
        assert worst < TOLERANCE, worst
    print(f"onnxruntime {onnxruntime.__version__}: {len(paths)} graphs, largest difference {worst:.1e}")


if __name__ == "__main__":
    main()
