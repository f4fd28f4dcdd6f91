"""Score photos with the checkpoint's two forms; print how far torch and ONNX Runtime part.

    python tests/benchmarks/parity.py FOLDER... [--checkpoint FILE.safetensors] [--photos 1000]

The ONNX form is exported anew, by the function behind `scarlens export`, and read back as `scarlens predict
--checkpoint FILE.onnx` reads it.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from scarlens.datasets.reading.reader import ImageReadError
from scarlens.datasets.transform import normalise, read_framed
from scarlens.inference.classifier import BUNDLED_CHECKPOINT
from scarlens.inference.engine import OnnxEngine, TorchEngine
from scarlens.model.export import export_onnx, network_of


def inputs(folders: list[Path], engine: TorchEngine) -> Iterator[np.ndarray]:
    """Yield each readable photo as the network wants it, float32 [1, 3, S, S]."""
    for folder in folders:
        for path in sorted(file for file in folder.rglob("*") if file.is_file()):
            try:
                square = read_framed(path, engine.card.size).framed.square
            except ImageReadError:
                continue
            yield normalise(square, mean=engine.card.mean, std=engine.card.std)[None]


def main() -> None:
    """Print the comparison."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folders", type=Path, nargs="+")
    arguments.add_argument("--checkpoint", type=Path, default=BUNDLED_CHECKPOINT.with_suffix(".safetensors"))
    arguments.add_argument("--photos", type=int, default=1000)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder) / "exported.onnx"
        export_onnx(options.checkpoint, exported)
        onnx, torch = OnnxEngine(exported), TorchEngine(*network_of(options.checkpoint))
    calibration, differences, same = torch.card.calibration, [], 0
    for photo in islice(inputs(options.folders, torch), options.photos):
        scores = torch(photo), onnx(photo)
        first, second = (calibration.probabilities(each.type_logits[0]) for each in scores)
        scope = [float(calibration.in_scope(each.scope_logit[0])) for each in scores]
        differences.append(max(np.abs(first - second).max(), abs(scope[0] - scope[1])))
        same += first.argmax() == second.argmax()
    print(f"cards agree: {onnx.card == torch.card}; model {onnx.card.model_id}")
    print(f"{len(differences)} photos: the same first type in {same}, largest difference {max(differences):.2e}")


if __name__ == "__main__":
    main()
