"""The HTTP API and the page: `POST /predict`, `/compare` and `/treatments`, described by `/openapi.json`."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, Form, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser
from starlette.types import ASGIApp

from ...datasets.errors import ScarlensError
from ...datasets.labels import DISPLAY_NAMES, SCAR_TYPES
from ...datasets.reading.reader import MAX_BYTES
from ...datasets.transform import jpeg_preview
from ..batch.folder import photo_row
from ..batch.reading import FileToRead, ReadingProcesses, ReadPhoto
from ..batch.table import COLUMNS, Row, escaped
from ..classifier import Classifier
from ..compare.comparison import LIMITS, compare
from ..engine import usable_cores
from ..reasons import NOTICE, REASONS
from ..regions import hex_colour
from ..treatments.catalogue import FACT_TOPICS, FIGURES, KINDS, NATURES, SUBJECTS
from ..treatments.cautions import mentions
from ..treatments.plan import plan
from .guard import Guard
from .schema import About, Answer, ComparedPhotos, PairForm, PhotoForm, Plan, PlanRequest, Problem

PICTURE_SIDE: Final = 1024
"""Longest side in pixels of the picture in an answer."""

MAX_BODY: Final = MAX_BYTES + 100_000
"""Size limit of a request in bytes: one photo and the other fields."""

_PAGE: Final = Path(__file__).with_name("page")
_EXAMPLE: Final = Path(__file__).parents[2] / "datasets" / "rendering" / "examples" / "boxcar_2.jpg"
_PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"description": "Malformed request.", "model": Problem},
    403: {"description": "The request came from a page of another site.", "model": Problem},
    413: {"description": "The request is too large.", "model": Problem},
    422: {"description": "The photo cannot be read, or a field is wrong.", "model": Problem},
}


def create_app(classifier: Classifier, *, any_host: bool = False) -> ASGIApp:
    """Return the application for a classifier, behind its guard, which by default refuses other names than localhost.

    Photos are read in processes that start and stop with the application.
    """
    app = _empty_app(classifier.card.size)

    @app.post("/predict", response_model=Answer, responses=_PROBLEMS, dependencies=[Depends(_each_field_once)])
    def predict(request: Request, form: Annotated[PhotoForm, Form(media_type="multipart/form-data")]) -> Any:
        """Classify one photo, and return what the documents say about its plausible types.

        Field `photo`: an image file. It stays in memory and is discarded after the reply.
        """
        return _answered(classifier, request.state.processes.read(_file_to_read(form.photo)), form)

    @app.post("/compare", response_model=ComparedPhotos, responses=_PROBLEMS, dependencies=[Depends(_each_field_once)])
    def compare_photos(request: Request, form: Annotated[PairForm, Form(media_type="multipart/form-data")]) -> Any:
        """Compare two photos of one place, at the scale of their pictures in an answer.

        Fields `before` and `after`: image files. They stay in memory and are discarded after the reply.
        """
        photos = [request.state.processes.read(_file_to_read(upload)) for upload in (form.before, form.after)]
        for photo in photos:
            if photo.photo is None:
                return _unreadable(classifier, photo)
        return _compared(classifier, *[photo.photo.preview or b"" for photo in photos])

    @app.post("/treatments", response_model=Plan, responses=_PROBLEMS)
    def treatments(request: PlanRequest) -> Any:
        """Return what the documents say about scar types, with the cautions for a person."""
        return plan(request.label, request.plausible, request.context()).to_dict()

    # Asynchronous, so that they need not wait for a thread that is busy with a photo.
    @app.get("/about", response_model=About)
    async def about() -> Any:
        """Return constants that the page needs."""
        return _about(classifier)

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(_PAGE / "index.html")

    @app.get("/example", include_in_schema=False)
    async def example() -> FileResponse:
        return FileResponse(_EXAMPLE)

    app.mount("/page", StaticFiles(directory=_PAGE))
    return Guard(app, large_bodies={"/predict": MAX_BODY, "/compare": 2 * MAX_BODY}, any_host=any_host)


def _empty_app(size: int) -> FastAPI:
    """Return an application without routes, whose processes frame photos in squares of `size` pixels."""
    # Uploads stay in memory: Starlette would spool those above a megabyte into a file.
    MultiPartParser.spool_max_size = MAX_BODY

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, ReadingProcesses]]:
        with closing(ReadingProcesses(None, size, workers=usable_cores(), preview=PICTURE_SIDE)) as processes:
            yield {"processes": processes}

    app = FastAPI(
        title="scarlens",
        version=version("scarlens"),
        description=f"Tells ice pick, boxcar and rolling acne scars apart. {NOTICE} Nothing leaves this machine.",
        lifespan=lifespan,
        docs_url=None,  # both would load scripts from the internet
        redoc_url=None,
        telemetry={"auto_configure": False},
    )
    app.add_exception_handler(RequestValidationError, _wrong_field)
    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(ScarlensError, _own_problem)
    app.add_exception_handler(Exception, _unexpected)
    return app


async def _each_field_once(request: Request) -> None:
    """Refuse a form with a repeated field: which of two skin types counts must not be guessed."""
    names = [name for name, _ in (await request.form()).multi_items()]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise HTTPException(422, f"expected each field once, found several of {escaped(', '.join(doubled))}")


def _answered(classifier: Classifier, photo: ReadPhoto, form: PhotoForm) -> dict[str, Any] | JSONResponse:
    """Return the answer for a photo that was read, or why it could not be."""
    if photo.photo is None:
        return _unreadable(classifier, photo)
    answer = classifier.predict_framed([photo.photo], context=form.context())[0]
    picture = _data_url(photo.photo.preview or b"") if form.picture else None
    return answer.to_dict() | {"row": photo_row(photo, answer, classifier.model_id), "picture": picture}


def _unreadable(classifier: Classifier, photo: ReadPhoto) -> JSONResponse:
    row = photo_row(photo, None, classifier.model_id)
    return _problem(422, f"{row['path'] or 'the photo'}: {row['reason']}", row)


def _compared(classifier: Classifier, before: bytes, after: bytes) -> dict[str, Any]:
    """Compare two previews, JPEGs of our own making."""
    result = compare(before, after, classifier=classifier)
    content: dict[str, Any] = result.to_dict() | {"limits": LIMITS}
    for name, picture in zip(("before", "after"), result.pictures, strict=True):
        content[name] |= {"picture": _data_url(jpeg_preview(picture, PICTURE_SIDE))}
    return content


def _file_to_read(upload: UploadFile) -> FileToRead:
    return FileToRead((upload.filename or "").encode("utf-8", "surrogatepass"), upload.file.read())


def _data_url(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def _about(classifier: Classifier) -> dict[str, Any]:
    return {
        "version": version("scarlens"),
        "model_id": classifier.model_id,
        "notice": NOTICE,
        "max_bytes": MAX_BYTES,
        "types": [{"name": name, "title": DISPLAY_NAMES[name], "colour": hex_colour(name)} for name in SCAR_TYPES],
        "reasons": REASONS,
        "kinds": KINDS,
        "topics": FACT_TOPICS,
        "subjects": SUBJECTS,
        "natures": NATURES,
        "quantities": {name: before for name, (before, _) in FIGURES.items()},
        "mentions": mentions(),
        "columns": COLUMNS,
    }


def _wrong_field(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body") or "the request"
    wrong = (
        "expected an image file"
        if where in ("photo", "before", "after") and first["type"] == "value_error"
        else first["msg"]
    )
    return _problem(422, escaped(f"{where}: {wrong}; /openapi.json describes every field"))


def _http_problem(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    reply = _problem(error.status_code, error.detail)
    reply.headers.update(error.headers or {})  # such as the methods that are allowed
    return reply


def _own_problem(_: Request, error: Exception) -> JSONResponse:
    return _problem(500, str(error))


def _unexpected(_: Request, error: Exception) -> JSONResponse:
    return _problem(500, f"unexpected {type(error).__name__}; see the server's terminal")


def _problem(status: int, error: str, row: Row | None = None) -> JSONResponse:
    return JSONResponse({"error": error, "row": row}, status)
