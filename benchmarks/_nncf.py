"""NNCF alone, under the toolchain's Python: `python benchmarks/_nncf.py MODEL.onnx SAMPLES.npy MODEL.xml`.

Its defaults, on OpenVINO's graph, with at most as many samples as it takes by default.
"""

import sys

import nncf
import numpy as np
import openvino


def main() -> None:
    """Quantize, and save as OpenVINO does by default."""
    source, samples, target = sys.argv[1:]
    data = nncf.Dataset([sample[None] for sample in np.load(samples)])
    openvino.save_model(nncf.quantize(openvino.convert_model(source), data), target)


if __name__ == "__main__":
    main()
