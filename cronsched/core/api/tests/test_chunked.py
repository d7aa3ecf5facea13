from __future__ import annotations

import io
from typing import Any

import pytest

from cronsched.core.api.chunked import with_measured_bodies

CHUNKED = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}


def seen(environ: dict[str, Any], body: bytes = b'{"a": 1}') -> tuple[str | None, bytes]:
    """The length and the body that the application gets."""
    got: dict[str, Any] = {}

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        got.update(environ)
        return []

    with_measured_bodies(application)({**environ, "wsgi.input": io.BytesIO(body)}, lambda *args: None)
    return got.get("CONTENT_LENGTH"), got["wsgi.input"].read()


@pytest.mark.parametrize("encoding", ["chunked", "Chunked", "gzip, chunked"])
def test_a_chunked_body_gets_its_length(encoding: str) -> None:
    assert seen({**CHUNKED, "HTTP_TRANSFER_ENCODING": encoding}) == ("8", b'{"a": 1}')


@pytest.mark.parametrize(
    "environ",
    [
        {"CONTENT_LENGTH": "8"},
        {**CHUNKED, "CONTENT_LENGTH": "8"},
        # This server would let us wait for ever.
        {"HTTP_TRANSFER_ENCODING": "chunked"},
        {"HTTP_TRANSFER_ENCODING": "gzip", "wsgi.input_terminated": True},
    ],
)
def test_other_bodies_are_left_alone(environ: dict[str, Any]) -> None:
    assert seen(environ) == (environ.get("CONTENT_LENGTH"), b'{"a": 1}')


def test_no_more_is_read_than_may_be_sent(settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100_000
    settings.UPLOAD_MAX_BYTES = 1

    assert seen(CHUNKED, b"x" * 200_000) == ("100001", b"x" * 100_001)
