"""Every operation of the OpenAPI document, called with what schemathesis thinks of.

All of schemathesis' checks run: no 5xx, every status, header, type and shape as documented, what
the schema forbids refused, what it allows accepted, no answer without a token where one is needed.
Out of the document's reach, and therefore off:

- `positive_data_acceptance` where a business rule refuses what every schema would allow (ASKS_MORE),
  and for a `from` that is not earlier than its `to`;
- `missing_required_header`: no operation has a header of its own;
- `max_response_time`: tests hold no clock (bench/ does).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, transaction
from hypothesis import HealthCheck, settings
from schemathesis.checks import CheckFunction
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import positive_data_acceptance

from cronsched.core.api.params import parse_uuid
from cronsched.wsgi import application
from tests.contract.conftest import World
from tests.contract.document import document
from tests.contract.test_conventions import THINGS

# What the schema cannot say of a request that is refused with 400.
ASKS_MORE = {
    "users_update": "the last admin stays one",
    "users_destroy": "nobody deletes themselves",
    "categories_destroy": "general stays",
    "categories_update": "general keeps its name, and a name is one line",
    "categories_create": "a name is one line, a slug has a letter or a digit",
    "teams_create": "as categories_create",
    "teams_update": "as categories_create",
    "jobs_create": "cron's grammar, a team that there is, a day to come, a target",
    "jobs_update": "as jobs_create",
    "jobs_partial_update": "as jobs_create",
    "jobs_execute": "a target, as jobs_create",
    "cron_tools_cron_preview": "cron's grammar, the names of time zones",
    "cron_tools_test_run": "a target, as jobs_create",
    "settings_update_slack_settings": "a URL of the public internet, and one before it is enabled",
    "api_keys_create": "an owner and a team that there are, an end to come",
    "uploads_bulk_upload": "a file with the columns of a job",
}


def schema_of(*, max_examples: int) -> Any:
    """The document, with as many random requests for each operation beside those at its bounds."""
    config = SchemathesisConfig.from_dict(
        {
            # NUL is refused everywhere (test_conventions), which no schema could say.
            "generation": {
                "max-examples": max_examples,
                "allow-x00": False,
                "allow-extra-parameters": False,
                "deterministic": True,
            },
            "checks": {"missing_required_header": {"enabled": False}},
        }
    )
    schema = schemathesis.openapi.from_dict(document(), config=config)
    schema.app = application
    return schema


# The world is one for all requests of an operation: what each writes is undone.
patient = settings(suppress_health_check=list(HealthCheck))
SHORT = schema_of(max_examples=2)
LONG = schema_of(max_examples=150)


@pytest.fixture(autouse=True)
def _one_transaction() -> Iterator[None]:
    """A server closes its connection after a request; the test's transaction lives on it."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@SHORT.parametrize()  # type: ignore[untyped-decorator]
@patient
def test_every_operation_keeps_its_word(case: Any, world: World) -> None:
    call(case, world)


@pytest.mark.slow
@LONG.parametrize()  # type: ignore[untyped-decorator]
@patient
def test_every_operation_keeps_its_word_at_length(case: Any, world: World) -> None:
    call(case, world)


def call(case: Any, world: World) -> None:
    """One request of an admin; whatever it writes is undone."""
    aim(case, world)
    with transaction.atomic():
        case.call_and_validate(headers=authorization(world), excluded_checks=out_of_reach(case))
        transaction.set_rollback(True)


def authorization(world: World) -> dict[str, str]:
    return {"Authorization": str(world.clients["admin"].defaults["HTTP_AUTHORIZATION"])}


def aim(case: Any, world: World) -> None:
    """Two of three generated ids become those of something that is there."""
    parts = case.operation.path.split("/")
    for name, value in (case.path_parameters or {}).items():
        before = parts[parts.index(f"{{{name}}}") - 1]
        if parse_uuid(str(value)) and sum(str(value).encode()) % 3:
            case.path_parameters[name] = world.ids[THINGS[before]]


def out_of_reach(case: Any) -> list[CheckFunction]:
    has_range = {"from", "to"} <= set(case.query or {})
    if has_range or case.operation.definition.raw["operationId"] in ASKS_MORE:
        return [positive_data_acceptance]
    return []


def chained(max_examples: int, world: World) -> None:
    """What one call makes, others ask for, change, and delete: it is there, and then it is not."""

    class Chain(LONG.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            self.mark = transaction.savepoint()

        def teardown(self) -> None:
            transaction.savepoint_rollback(self.mark)

        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"headers": authorization(world)}

        def validate_response(self, response: Any, case: Any, **kwargs: Any) -> None:
            case.validate_response(response, excluded_checks=out_of_reach(case), **kwargs)

    Chain.run(settings=settings(patient, max_examples=max_examples, stateful_step_count=6, derandomize=True))


def test_what_is_made_is_there_until_it_is_deleted(world: World) -> None:
    chained(5, world)


@pytest.mark.slow
def test_what_is_made_is_there_until_it_is_deleted_at_length(world: World) -> None:
    chained(150, world)
