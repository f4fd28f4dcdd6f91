"""Render photographs of acne scars from relief, pigment and light: `render_photo("boxcar", seed=7).image`.

A first, small renderer: height fields in millimetres, one lamp, a camera. The pictures in `examples/` are made, from
the repository's root, by

    python -c "from scarlens.datasets.rendering import photo; photo.write_examples('datasets/rendering/examples')"
"""

from .photo import RenderedPhoto, render_photo, write_photos

__all__ = ["RenderedPhoto", "render_photo", "write_photos"]
