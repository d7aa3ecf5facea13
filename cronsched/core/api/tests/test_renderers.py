from __future__ import annotations

import json
from decimal import Decimal
from uuid import UUID

import pytest
from django.utils.translation import gettext_lazy
from rest_framework.exceptions import ErrorDetail
from rest_framework.renderers import JSONRenderer

from cronsched.core.api.renderers import FastJSONRenderer
from jobs.choices import Status


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "é🚀",
        {"a": [1, 2.5, True, None]},
        2**80,
        [-(2**70)],
        Decimal("1.50"),
        UUID(int=7),
        Status.SUCCESS,
        ErrorDetail("no", code="x"),
        gettext_lazy("job"),
    ],
)
def test_an_answer_means_what_the_standard_library_makes_of_it(value):
    data = {"value": value}

    assert json.loads(FastJSONRenderer().render(data)) == json.loads(JSONRenderer().render(data))


def test_nothing_is_an_empty_answer():
    assert FastJSONRenderer().render(None) == b""


def test_an_indent_is_given_where_it_is_asked_for():
    assert FastJSONRenderer().render({"a": 1}, "application/json; indent=2") == b'{\n  "a": 1\n}'


def test_what_is_no_json_is_refused():
    with pytest.raises(TypeError):
        FastJSONRenderer().render({"a": object()})
