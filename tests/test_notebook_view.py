"""A prediction in a notebook: a picture, the answer, the notice, and nothing from elsewhere."""

import base64
import io
import re
from html import unescape

import numpy as np
import pytest
from PIL import Image

import scarlens
from scarlens.datasets.rendering import render_photo
from scarlens.inference.reasons import NOTICE


def shown(answer: scarlens.Prediction) -> str:
    return unescape(answer._repr_html_())


def picture(html: str) -> Image.Image:
    found = re.search(r'src="data:image/jpeg;base64,([^"]+)"', html)
    assert found
    return Image.open(io.BytesIO(base64.b64decode(found[1])))


def test_answer_is_shown_with_the_photo() -> None:
    photo = render_photo("rolling", seed=2, size=300).image
    answer = scarlens.predict(photo)
    html = shown(answer)
    assert answer.headline in html and NOTICE in html
    for probability in answer.probabilities.values():
        assert f"{100 * probability:.1f} %" in html
    assert answer.treatment and "003_a987b77342a1f779.txt" in html
    with picture(html) as opened:
        assert opened.width == 300 and opened.height > 300  # the photo, and the legend below
        painted = np.asarray(opened)[:300].astype(float)
    assert 2 < np.abs(painted - photo).mean() < 60  # the photo shines through the colours


def test_large_photo_is_shown_small_and_without_metadata() -> None:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x010E] = "MADE-BY-JANE-DOE"
    Image.fromarray(render_photo("boxcar", seed=3, size=1200).image).save(file, "jpeg", exif=exif)
    answer = scarlens.predict(file.getvalue())
    assert answer.preview and b"JANE-DOE" not in answer.preview
    with picture(shown(answer)) as opened:
        assert opened.width == 480 and not opened.getexif()


def test_refused_photo_is_shown_without_treatment() -> None:
    html = shown(scarlens.predict(np.zeros((200, 200, 3), np.uint8)))
    assert "the photo is too dark to judge" in html and NOTICE in html
    assert "treatment</summary>" not in html and ".txt" not in html


@pytest.mark.parametrize("context", [None, scarlens.Context(skin_type=5, keloid_history=True)])
def test_nothing_is_fetched_or_run(context: scarlens.Context | None) -> None:
    html = scarlens.predict(render_photo("ice_pick", seed=7, size=200).image, context=context)._repr_html_()
    assert not re.search(r"<script|<link|<iframe|\son\w+=|(?:src|href)=\"(?!data:image/jpeg)", html)


def test_answers_of_many_photos_have_no_picture() -> None:
    (answer,) = scarlens.load().predict_many([render_photo("boxcar", seed=1, size=200).image])
    assert isinstance(answer, scarlens.Prediction) and answer.preview is None
    assert "<img" not in answer._repr_html_() and answer.headline in shown(answer)
