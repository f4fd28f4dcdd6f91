"""Classify acne scars as ice pick, boxcar or rolling, or abstain: `scarlens.predict("cheek.jpg")`.

Information, not a diagnosis.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scarlens.inference.batch.folder import BatchSummary, predict_folder
    from scarlens.inference.classifier import Classifier, load, predict
    from scarlens.inference.compare.comparison import Comparison, compare
    from scarlens.inference.prediction import Prediction
    from scarlens.inference.treatments.cautions import Context
    from scarlens.inference.treatments.plan import TreatmentPlan

    __version__: str

__all__ = [
    "BatchSummary",
    "Classifier",
    "Comparison",
    "Context",
    "Prediction",
    "TreatmentPlan",
    "__version__",
    "compare",
    "load",
    "predict",
    "predict_folder",
]

_MODULES = {
    "BatchSummary": "batch.folder",
    "predict_folder": "batch.folder",
    "Classifier": "classifier",
    "load": "classifier",
    "predict": "classifier",
    "Comparison": "compare.comparison",
    "compare": "compare.comparison",
    "Prediction": "prediction",
    "Context": "treatments.cautions",
    "TreatmentPlan": "treatments.plan",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import scarlens` loads neither OpenCV nor torch."""
    if name == "__version__":
        from importlib.metadata import version

        return version("scarlens")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"scarlens.inference.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
