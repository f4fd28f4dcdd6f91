"""The HTTP API of `scarlens serve`: its answers are those of `predict`, and nobody can misuse it."""

import base64
import io
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import scarlens
from scarlens.datasets.labels import SCAR_TYPES
from scarlens.datasets.reading.reader import MAX_BYTES, read_image
from scarlens.datasets.rendering import render_photo
from scarlens.inference.reasons import NOTICE

pytest.importorskip("fastapi", reason="needs the extra 'serve'")
from fastapi.testclient import TestClient

from scarlens.inference.web.app import create_app

EXAMPLES = Path(__file__).parents[1] / "datasets" / "rendering" / "examples"
PAGE = Path(__file__).parents[1] / "inference" / "web" / "page"
HOST = "http://127.0.0.1:8321"


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(create_app(scarlens.load()), base_url=HOST, raise_server_exceptions=False) as opened:
        yield opened


def example(name: str = "boxcar") -> bytes:
    return (EXAMPLES / f"{name}.jpg").read_bytes()


def predicted(client: TestClient, content: bytes, name: str = "cheek.jpg", **fields: Any) -> Any:
    return client.post("/predict", files={"photo": (name, content)}, data=fields)


def jpeg(pixels: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "jpeg", **options)
    return file.getvalue()


DARK = jpeg(np.zeros((99, 99, 3), np.uint8))


# --- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [example("ice_pick"), example("boxcar"), DARK], ids=["one", "another", "refused"])
def test_answer_is_that_of_predict(client: TestClient, content: bytes) -> None:
    answer = predicted(client, content).json()
    expected = scarlens.predict(content).to_dict()
    assert answer["probabilities"] == pytest.approx(expected.pop("probabilities"), abs=1e-6)
    assert answer["in_scope"] == pytest.approx(expected.pop("in_scope"), abs=1e-6)
    assert np.allclose(answer["regions"], expected.pop("regions"), atol=2e-3)
    assert {key: answer[key] for key in expected} == expected
    assert answer["notice"] == NOTICE and answer["picture"] is None


def test_row_is_that_of_a_folder(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    files = {"a.jpg": example("rolling"), "dark.jpg": DARK, "no.jpg": b"no picture"}
    for name, content in files.items():
        (tmp_path / "photos" / name).write_bytes(content)
    scarlens.predict_folder(tmp_path / "photos", tmp_path / "rows.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [predicted(client, content, name).json()["row"] for name, content in files.items()] == rows
    assert [row["status"] for row in rows] == ["ok", "abstained", "error"]


def test_facts_about_the_person_add_cautions_and_change_no_probability(client: TestClient) -> None:
    plain = predicted(client, example("ice_pick")).json()
    told = predicted(client, example("ice_pick"), skin_type="5", keloid_history="true").json()
    assert told["probabilities"] == plain["probabilities"]
    assert plain["treatment"]["cautions"] == []
    assert {caution["reason"] for caution in told["treatment"]["cautions"]} == {"skin type", "keloid history"}
    assert told["treatment"]["not_told"] == ["pregnancy", "isotretinoin", "active acne"]


def test_treatments_are_those_of_the_answer(client: TestClient) -> None:
    told = {"skin_type": 5, "pregnant": True, "isotretinoin_months": 2.5, "active_acne": False}
    answer = predicted(client, example("boxcar"), **{name: str(value).lower() for name, value in told.items()}).json()
    request = {"label": answer["label"], "plausible": answer["plausible"], **told}
    assert client.post("/treatments", json=request).json() == answer["treatment"]


def test_two_photos_are_compared(client: TestClient) -> None:
    darker = jpeg((np.asarray(Image.open(io.BytesIO(example()))) * 0.8).astype(np.uint8), quality=95)
    reply = client.post("/compare", files={"before": ("a.jpg", example()), "after": ("b.jpg", darker)}).json()
    expected = scarlens.compare(example(), darker)
    assert (reply["headline"], reply["obstacle"]) == (expected.headline, None)
    for name, change in expected.changes.items():
        assert reply["changes"][name]["after"] == pytest.approx(change.after, abs=0.02)
    assert reply["notice"] == NOTICE and "healing" in reply["limits"]
    assert "treatment" not in reply["before"] and reply["after"]["picture"].startswith("data:image/jpeg;base64,")


def test_a_photo_that_cannot_be_compared_is_named(client: TestClient) -> None:
    reply = client.post("/compare", files={"before": ("a.jpg", example()), "after": ("b.jpg", b"no picture")})
    assert reply.status_code == 422 and reply.json()["error"].startswith("b.jpg: ")
    assert client.post("/compare", files={"before": ("a.jpg", example())}).status_code == 422
    reply = client.post("/compare", files={"before": ("a.jpg", example())}, data={"after": "text"})
    assert reply.json()["error"].startswith("after: expected an image file")


def test_about_names_every_type_and_reason(client: TestClient) -> None:
    about = client.get("/about").json()
    assert tuple(found["name"] for found in about["types"]) == SCAR_TYPES
    assert set(about["reasons"]) == {"out_of_scope", "ambiguous", "low_quality"}
    assert about["notice"] == NOTICE and about["max_bytes"] == MAX_BYTES


def test_application_can_be_started_again() -> None:
    app = create_app(scarlens.load())
    for _ in range(2):
        with TestClient(app, base_url=HOST) as started:
            assert predicted(started, example()).json()["label"] == "boxcar"


def test_picture_is_upright_small_and_without_metadata(client: TestClient) -> None:
    pixels = np.full((600, 2400, 3), (200, 150, 130), np.uint8)
    pixels[:, 1200:] = (60, 40, 30)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees: wide in the file, high when upright
    exif[0x010E] = "MADE-BY-JANE-DOE"
    exif.get_ifd(0x8825)[1] = "GPS-NORTH"
    reply = predicted(client, jpeg(pixels, exif=exif.tobytes(), comment=b"A-COMMENT"), picture="true")
    answer = reply.json()
    assert (answer["width"], answer["height"]) == (600, 2400)
    kind, _, encoded = answer["picture"].partition(",")
    assert kind == "data:image/jpeg;base64"
    content = base64.b64decode(encoded)
    picture = read_image(content)
    assert picture.shape == (1024, 256, 3)
    assert picture[:400].mean() > picture[-400:].mean() + 50
    with Image.open(io.BytesIO(content)) as opened:
        assert not opened.getexif() and "comment" not in opened.info
    assert not any(word in reply.text for word in ("JANE-DOE", "GPS-NORTH", "A-COMMENT"))


# --- bad requests ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"skin_type": "7"}, "skin_type"),
        ({"skin_type": "dark"}, "skin_type"),
        ({"isotretinoin_months": "-1"}, "isotretinoin_months"),
        ({"isotretinoin_months": "nan"}, "isotretinoin_months"),
        ({"pregnant": "perhaps"}, "pregnant"),
        ({"skintype": "5"}, "skintype"),
    ],
)
def test_wrong_field_is_named_in_one_line(client: TestClient, fields: dict[str, str], named: str) -> None:
    reply = predicted(client, example(), **fields)
    assert reply.status_code == 422
    assert reply.json()["error"].startswith(f"{named}: ") and "\n" not in reply.json()["error"]


def test_unreadable_photo_is_named_with_the_reason(client: TestClient) -> None:
    reply = predicted(client, example()[:3000], "cut\nshort.jpg")
    assert reply.status_code == 422
    assert "short.jpg: expected a JPEG up to its end marker" in reply.json()["error"]
    assert "\n" not in reply.json()["error"]
    assert reply.json()["row"]["sha256"]


def test_request_without_a_photo_is_refused(client: TestClient) -> None:
    assert client.post("/predict").status_code == 422
    assert client.post("/predict", data={"photo": "text"}).status_code == 422
    assert client.post("/predict", json={"photo": "text"}).status_code == 422
    broken = client.post("/predict", content=b"x", headers={"content-type": "multipart/form-data; boundary=y"})
    assert broken.status_code in (400, 422) and broken.json()["error"]


@pytest.mark.parametrize("charset", ["utf-7", "unicode_escape", "raw_unicode_escape"])
@pytest.mark.parametrize("name", ["+2AA-.jpg", r"\ud800.jpg"])
def test_odd_character_sets_harm_nothing(client: TestClient, charset: str, name: str) -> None:
    head = f'--x\r\nContent-Disposition: form-data; name="photo"; filename="{name}"\r\n\r\n'.encode()
    kind = f"multipart/form-data; boundary=x; charset={charset}"
    reply = client.post("/predict", content=head + example() + b"\r\n--x--\r\n", headers={"content-type": kind})
    assert reply.status_code in (200, 400, 422), reply.text


def test_field_that_comes_twice_is_refused(client: TestClient) -> None:
    files = [("photo", ("a.jpg", example("boxcar"))), ("photo", ("b.jpg", example("rolling")))]
    reply = client.post("/predict", files=files)
    assert reply.status_code == 422 and "photo" in reply.json()["error"]
    reply = client.post("/predict", files=files[:1], data={"skin_type": ["2", "5"]})
    assert reply.status_code == 422 and "skin_type" in reply.json()["error"]


def test_an_unexpected_error_is_one_line_with_the_same_safety_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = scarlens.load()
    monkeypatch.setattr(classifier, "predict_framed", lambda *_, **__: 1 / 0)
    with TestClient(create_app(classifier), base_url=HOST, raise_server_exceptions=False) as broken:
        reply = predicted(broken, example())
    assert reply.status_code == 500 and "ZeroDivisionError" in reply.json()["error"]
    assert "default-src 'none'" in reply.headers["content-security-policy"]


def test_large_json_is_refused_before_it_is_read(client: TestClient) -> None:
    reply = client.post("/treatments", json={"plausible": ["boxcar"] * 100_000})
    assert reply.status_code == 413


def test_too_large_bodies_are_refused_and_the_next_photo_is_answered(client: TestClient) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a.jpg"\r\n\r\n'
        yield from (bytes(1_000_000) for _ in range(MAX_BYTES // 1_000_000 + 1))

    whole = client.post("/predict", files={"photo": ("a.jpg", bytes(MAX_BYTES + 200_000))})
    kind = {"content-type": "multipart/form-data; boundary=x"}
    streamed = client.post("/predict", content=chunks(), headers=kind)  # does not say its length
    for reply in (whole, streamed):
        assert reply.status_code == 413 and "at most" in reply.json()["error"]
    assert predicted(client, example()).json()["label"] == "boxcar"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "https://127.0.0.1:8321"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},  # a form of another page
    ],
)
def test_requests_of_other_sites_are_refused(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post("/predict", files={"photo": ("a.jpg", example())}, headers=headers).status_code == 403
    assert client.post("/treatments", json={"plausible": ["boxcar"]}, headers=headers).status_code == 403


def test_own_page_and_links_to_it_are_served(client: TestClient) -> None:
    own = {"origin": HOST, "sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}
    assert client.post("/treatments", json={"plausible": ["boxcar"]}, headers=own).status_code == 200
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/", headers=link).status_code == 200
    assert client.get("/page/page.js", headers={"sec-fetch-site": "cross-site"}).status_code == 403


def test_other_names_for_this_server_are_refused(client: TestClient) -> None:
    for name in ("evil.example", "evil.example:8321", "127.0.0.1.evil.example", "127.0.0.1:80.evil.example", ""):
        assert client.get("/about", headers={"host": name}).status_code == 400
    assert client.get("/about", headers={"host": "localhost:8321"}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/../app.py", "/%2e%2e/app.py", "/..%2f..%2f..%2fetc/passwd", "//etc/passwd", "/%2fetc%2fpasswd", "/.%00"),
        *("/page/../app.py", "/page/%2e%2e/app.py", "/page/..%2fapp.py", "/page/..%5capp.py", "/page//etc/passwd"),
        *("/page/page.js/../../app.py", "/page/", "/app.py", "/docs", "/redoc"),
    ],
)
def test_nothing_but_the_page_can_be_fetched(client: TestClient, path: str) -> None:
    reply = client.get(path)
    assert 400 <= reply.status_code < 500
    assert "import" not in reply.text and "root:" not in reply.text


def test_every_reply_forbids_what_the_page_does_not_need(client: TestClient) -> None:
    replies = [client.get("/"), client.get("/page/page.js"), client.get("/nothing"), client.put("/predict")]
    replies += [predicted(client, example()), client.get("/about", headers={"host": "evil.example"})]
    for reply in replies:
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in reply.headers and "server" not in reply.headers


def test_page_names_no_address_elsewhere() -> None:
    for file in PAGE.iterdir():
        addresses = re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*", file.read_text())
        assert set(addresses) <= {"http://www.w3.org/2000/svg"}, file.name


# --- hostile uploads -------------------------------------------------------------------------------------------------


def damaged_files(count: int) -> Iterator[bytes]:
    """Yield files of six formats with bytes changed, a third of them also cut short."""
    rng = np.random.default_rng(7)
    seeds = []
    for form in ("jpeg", "png", "webp", "tiff", "bmp", "gif"):
        file = io.BytesIO()
        Image.fromarray(render_photo("boxcar", seed=1, size=96).image).save(file, form)
        seeds.append(file.getvalue())
    for number in range(count):
        damaged = bytearray(seeds[number % len(seeds)])
        for place in rng.integers(0, len(damaged), rng.integers(1, 40)):
            damaged[place] = rng.integers(0, 256)
        cut = len(damaged) if number % 3 else int(rng.integers(0, len(damaged)))
        yield bytes(damaged[:cut])


def test_two_hundred_damaged_uploads_then_a_good_one(client: TestClient) -> None:
    replies = [
        predicted(client, content, "../../\x00<img src=x onerror=alert(1)>.jpg", picture="true")
        for content in damaged_files(200)
    ]
    statuses = [reply.status_code for reply in replies]
    assert set(statuses) == {200, 422}
    assert statuses.count(422) > 50 and statuses.count(200) > 10
    assert predicted(client, example()).json()["label"] == "boxcar"


def test_uploads_are_never_written_to_disk(client: TestClient) -> None:
    content = jpeg(np.random.default_rng(1).integers(0, 256, (1500, 1500, 3), np.uint8), quality=95)
    assert len(content) > 2_000_000  # Starlette would write what is larger than one megabyte into a file
    written, watching = set(), True

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        path, flags = (arguments[0], arguments[2]) if event == "open" else (None, 0)
        if watching and isinstance(path, str) and isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR):
            written.add(path)

    sys.addaudithook(note)  # which cannot be removed
    Path(os.devnull).write_bytes(b"")  # the hook sees such things
    assert predicted(client, content, picture="true").status_code == 200
    watching = False
    assert written == {os.devnull}
