"""What services raise when they refuse. The API and the admin site each translate in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class DomainError(Exception):
    """A refusal with words for a person.

    `error` is the short type, `message` a sentence with the way out, `field` the input field at
    fault ("" when none is), `details` maps more than one field to its messages. `status` is the
    HTTP status of the API's answer.
    """

    status = 400
    error = "Invalid request"

    def __init__(
        self,
        message: str,
        *,
        error: str | None = None,
        field: str = "",
        details: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.error = error or self.error
        self.field = field
        self.details: dict[str, list[str]] = {key: list(value) for key, value in (details or {}).items()}
        if field and field not in self.details:
            self.details[field] = [message]


class InvalidInput(DomainError):
    error = "Validation error"


class Forbidden(DomainError):
    status = 403
    error = "Forbidden"


class NotFound(DomainError):
    status = 404
    error = "Not found"


class Conflict(DomainError):
    status = 409
    error = "Conflict"


class TooLarge(DomainError):
    status = 413
    error = "Payload too large"


class Throttled(DomainError):
    """Too many attempts; `retry_after_s` is when it may be tried again."""

    status = 429
    error = "Too many requests"

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = max(1, retry_after_s)
