"""Serializer fields with the contract's manners: times in UTC with `Z`, JSON types taken strictly."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db import models
from rest_framework import serializers


def utc_text(moment: datetime | None) -> str | None:
    """`2025-01-15T10:30:00Z`, with the fraction where there is one. A naive time is UTC's."""
    if moment is None:
        return None
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return moment.isoformat() + "Z"


def as_utc(moment: datetime) -> datetime:
    """Aware: a naive time is UTC's, as a database's driver gives it."""
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


class UtcDateTimeField(serializers.DateTimeField):
    """Always UTC with `Z`, whatever TIME_ZONE is."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("default_timezone", UTC)
        super().__init__(**kwargs)

    def to_representation(self, value: Any) -> Any:
        return utc_text(value)


class TextField(serializers.CharField):
    """A string and nothing that merely can be made one: `{"name": 7}` is a mistake worth telling."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return str(super().to_internal_value(data))


class FlagField(serializers.BooleanField):
    """JSON's true and false; not their many spellings, which are for queries and forms."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


# The serializers' docstrings are descriptions in the OpenAPI document, so these have none: they
# check shapes, and rules live in services.
class ContractSerializer(serializers.Serializer[Any]):
    pass


class ContractModelSerializer(serializers.ModelSerializer[Any]):
    serializer_field_mapping = {
        **serializers.ModelSerializer.serializer_field_mapping,
        models.DateTimeField: UtcDateTimeField,
    }
