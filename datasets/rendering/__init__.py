"""Render photographs of acne scars from relief, pigment and light: `render_photo("boxcar", seed=7).image`.

Skin is a height field in millimetres on a curved cheek (`cheek`, `relief`, `scars`), coloured by its pigments
(`skin`), lit (`shading`) and photographed (`camera`), with the distractors of real photos (`distractors`, `overlays`).
To make the pictures in `examples/`, run from the repository's root

    python -c "from scarlens.datasets.rendering import files; files.write_examples('datasets/rendering/examples')"
"""

from .files import write_examples, write_photos
from .photo import RenderedPhoto, render_photo

__all__ = ["RenderedPhoto", "render_photo", "write_examples", "write_photos"]
