"""HTML view of a prediction for Jupyter: the photo, where each type is seen, probabilities and the documents' text."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..datasets.labels import DISPLAY_NAMES
from ..datasets.writing.template import filled
from .reasons import NOTICE, percent

if TYPE_CHECKING:
    from .prediction import Prediction


def html(prediction: Prediction) -> str:
    """Return a prediction as self-contained HTML. Without a preview it has no picture.

    The notebook then contains the photo: handle it with the same care, or clear its outputs.
    """
    values = {
        "headline": prediction.headline,
        "picture": None if prediction.preview is None else _picture(prediction.preview, prediction),
        "bars": _bars(prediction),
        "in_scope": percent(prediction.in_scope),
        "extent": prediction.extent_text,
        "contradiction": prediction.contradiction,
        "treatment": prediction.treatment and prediction.treatment.to_text(),
        "has_context": prediction.treatment is not None and prediction.treatment.context is not None,
        "notice": NOTICE,
    }
    return filled(Path(__file__).with_name("prediction.html.j2"), values)


def _bars(prediction: Prediction) -> list[dict[str, Any]]:
    from .regions import hex_colour

    return [
        {
            "name": DISPLAY_NAMES[name],
            "percent": f"{100 * probability:.1f}",
            "plausible": name in prediction.plausible,
            "colour": hex_colour(name),
        }
        for name, probability in sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    ]


def _picture(preview: bytes, prediction: Prediction) -> str:
    """Return the preview with the regions drawn on it, as a data URL."""
    from ..datasets.reading.reader import read_image
    from ..datasets.transform import jpeg_preview
    from .regions import overlay

    painted = overlay(read_image(preview), prediction.regions, prediction.scar_threshold)
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg_preview(painted, max(painted.shape))).decode()}"
