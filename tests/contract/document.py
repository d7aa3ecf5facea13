"""The OpenAPI document, as the tests of the contract look at it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import jsonschema_rs

from cronsched import documents

ERROR = {"$ref": "#/components/schemas/Error"}


@dataclass(frozen=True)
class Operation:
    """One method of one path: `id` is the operationId, `spec` what the document says of it."""

    id: str
    method: str
    path: str
    spec: Mapping[str, Any]

    @property
    def parameters(self) -> list[Mapping[str, Any]]:
        return list(self.spec.get("parameters", []))

    @property
    def is_open(self) -> bool:
        return not self.spec.get("security")

    def media(self, status: str) -> Mapping[str, Any]:
        content: Mapping[str, Any] = self.spec["responses"][status]["content"]
        return content["application/json"]  # type: ignore[no-any-return]


@cache
def document() -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(documents._document())
    return parsed


@cache
def operations() -> dict[str, Operation]:
    return {
        spec["operationId"]: Operation(spec["operationId"], method, path, spec)
        for path, methods in document()["paths"].items()
        for method, spec in methods.items()
    }


def examples_of(media: Mapping[str, Any]) -> list[Any]:
    if "example" in media:
        return [media["example"]]
    return [one["value"] for one in media.get("examples", {}).values()]


def faults(schema: Mapping[str, Any], value: Any) -> list[str]:
    """Why `value` does not obey `schema` of the document; formats (uuid, date-time, email) count."""
    validator = jsonschema_rs.Draft4Validator(
        {**_plain(schema), "components": _plain(document()["components"])}, validate_formats=True
    )
    return [f"{list(error.instance_path)}: {error.message}" for error in validator.iter_errors(value)]


def untold(schema: Mapping[str, Any], value: Any, where: str = "") -> Iterator[str]:
    """Keys of `value` that the document does not name: a client would not know of them."""
    if "$ref" in schema:
        schema = document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    for part in schema.get("allOf", []):
        schema = {**schema, **part}
        if "$ref" in part:
            schema = document()["components"]["schemas"][part["$ref"].rpartition("/")[2]]
    if isinstance(value, list):
        for item in value:
            yield from untold(schema.get("items", {}), item, where)
    elif isinstance(value, dict) and "properties" in schema:
        for key, inner in value.items():
            if key not in schema["properties"]:
                yield f"{where}{key}"
            else:
                yield from untold(schema["properties"][key], inner, f"{where}{key}.")


def _plain(schema: Any) -> Any:
    """OpenAPI 3.0's `nullable` in the words of JSON Schema."""
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: _plain(value) for key, value in schema.items() if key != "nullable"}
    return {"anyOf": [plain, {"enum": [None]}]} if schema.get("nullable") is True else plain
