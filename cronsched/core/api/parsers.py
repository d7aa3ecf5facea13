"""Takes request bodies apart, and refuses what could not be stored or sent on.

The size is bounded by DATA_UPLOAD_MAX_MEMORY_SIZE (413). Text is UTF-8 whatever the header says:
that is what JSON and forms are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import IO, Any, ClassVar, NoReturn

from django.conf import settings
from django.http import QueryDict
from rest_framework.parsers import DataAndFiles, FormParser, JSONParser, MultiPartParser

from cronsched.core.api.chunked import FORM_SLACK
from cronsched.core.api.exceptions import InvalidPayload
from cronsched.core.api.params import refuse_unstorable
from cronsched.core.errors import InvalidInput, TooLarge
from cronsched.core.text import is_storable

# Far beyond any real body, and far below where Python's own encoder runs out of stack.
MAX_DEPTH = 64


class JsonObjectParser(JSONParser):
    """A JSON object of finite numbers and storable text. Anything else is `Invalid payload`."""

    # False where nothing is stored or sent on, and the caller has words of its own for what cannot be.
    checks_values: ClassVar[bool] = True

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        try:
            data = json.loads(stream.read().decode("utf-8-sig"), parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            raise InvalidPayload("The body is not valid JSON.") from None
        if not isinstance(data, dict):
            raise InvalidPayload("The body must be a JSON object.")
        if self.checks_values:
            check_json(data)
        return data


class AnyTextParser(JsonObjectParser):
    """A JSON object, whatever its text holds."""

    checks_values = False


class StrictFormParser(FormParser):
    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        form = QueryDict(stream.read(), encoding="utf-8")
        refuse_unstorable(form.dict())
        return form


class StrictMultiPartParser(MultiPartParser):
    """Forms with files. The fields are checked as in a form; the files are the view's to read."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> DataAndFiles[Any, Any]:
        context = {**(parser_context or {}), "encoding": "utf-8"}
        parsed: DataAndFiles[Any, Any] = super().parse(stream, media_type, context)
        refuse_unstorable(parsed.data.dict())
        return parsed


class UploadParser(StrictMultiPartParser):
    """A form with one file of at most UPLOAD_MAX_BYTES: refused by its length before any of it is read.

    The length can be trusted: the server reads no further, and what comes without one was measured
    (`chunked`).
    """

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> DataAndFiles[Any, Any]:
        length = str((parser_context or {})["request"].META.get("CONTENT_LENGTH", ""))
        if length.isdecimal() and int(length) > settings.UPLOAD_MAX_BYTES + FORM_SLACK:
            raise _too_large()
        parsed = super().parse(stream, media_type, parser_context)
        if any((file.size or 0) > settings.UPLOAD_MAX_BYTES for file in parsed.files.values()):
            raise _too_large()
        return parsed


def _too_large() -> TooLarge:
    most = settings.UPLOAD_MAX_BYTES
    return TooLarge(f"The file is larger than {most} bytes, the most this server takes: split it.")


def check_json(data: Mapping[str, Any]) -> None:
    """Refuse NUL, lone surrogates, numbers beyond floats, and depth; the top-level field is named."""
    for field, value in data.items():
        if not is_storable(field):
            raise InvalidPayload("A field's name holds a character that cannot be stored.")
        for leaf, depth in _walk(value):
            if depth > MAX_DEPTH:
                raise InvalidInput(f"{field} is nested more than {MAX_DEPTH} levels deep.", field=field)
            if isinstance(leaf, str) and not is_storable(leaf):
                raise InvalidInput(f"{field} holds a character that cannot be stored (NUL?).", field=field)
            if isinstance(leaf, float) and not math.isfinite(leaf):
                raise InvalidInput(f"{field} holds a number that is too large.", field=field)


def _walk(value: Any) -> Iterator[tuple[Any, int]]:
    """Every value and every key inside `value`, with its depth. A stack, not recursion: input is deep."""
    stack = [(value, 1)]
    while stack:
        item, depth = stack.pop()
        yield item, depth
        if depth > MAX_DEPTH:
            continue
        if isinstance(item, dict):
            stack.extend((key, depth + 1) for key in item)
            stack.extend((inner, depth + 1) for inner in item.values())
        elif isinstance(item, list):
            stack.extend((inner, depth + 1) for inner in item)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
