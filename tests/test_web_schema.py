"""The HTTP API against its own OpenAPI document, with requests that schemathesis makes up."""

import pytest

import scarlens

pytest.importorskip("fastapi", reason="needs the extra 'serve'")
pytest.importorskip("schemathesis", reason="needs the extra 'dev'")

import schemathesis.checks
from hypothesis import settings

from scarlens.inference.web.app import create_app

HEADERS = {"host": "127.0.0.1"}
schema = schemathesis.openapi.from_asgi("/openapi.json", create_app(scarlens.load()), headers=HEADERS)


@schema.parametrize()
@settings(max_examples=60, deadline=None, derandomize=True)
def test_replies_match_the_openapi_document(case) -> None:
    unsupported = [schemathesis.checks.positive_data_acceptance]  # bytes that are made up are no photo
    case.call_and_validate(
        headers=HEADERS, excluded_checks=unsupported if case.path in ("/predict", "/compare") else []
    )
