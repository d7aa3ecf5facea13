"""Lets clients send bodies without saying how long they are (`Transfer-Encoding: chunked`).

WSGI speaks of a Content-Length only, so Django reads such a body as empty: a good request would be
answered with "this field is required". The server has taken the chunks apart already; what is
missing is their sum.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import Any

from django.conf import settings

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

# What a multipart form adds to the file that it carries.
FORM_SLACK = 65_536


def with_measured_bodies(application: Application) -> Application:
    """Wrap a WSGI application: chunked bodies are read up to the largest allowed, and measured.

    One byte more than that is kept, so that the refusal (413) is the same as for any large body.
    """

    def measured(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        is_chunked = "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower()
        # Only a server that ends the stream by itself may be read without a length.
        if is_chunked and environ.get("wsgi.input_terminated") and not environ.get("CONTENT_LENGTH"):
            most = max(settings.DATA_UPLOAD_MAX_MEMORY_SIZE, settings.UPLOAD_MAX_BYTES + FORM_SLACK)
            body = environ["wsgi.input"].read(most + 1)
            environ["wsgi.input"] = io.BytesIO(body)
            environ["CONTENT_LENGTH"] = str(len(body))
        return application(environ, start_response)

    return measured
