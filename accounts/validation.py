"""What a username, an address, a password and a role may be. One wording, wherever they come from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from accounts.roles import Role
from cronsched.core.errors import InvalidInput
from cronsched.core.text import clean_name, is_storable

USERNAME_MIN, USERNAME_MAX = 3, 80
EMAIL_MAX = 120
PASSWORD_MIN = 6
UNKNOWN_ROLE = f"Role must be one of: {', '.join(Role.values)}"
# Letters and digits of any script.
_USERNAME = re.compile(r"\w+")


def clean_username(value: Any) -> str:
    text = clean_name(_text(value))
    if not USERNAME_MIN <= len(text) <= USERNAME_MAX or not _USERNAME.fullmatch(text):
        raise ValueError(f"Use {USERNAME_MIN} to {USERNAME_MAX} letters, digits or underscores.")
    return text


def clean_email(value: Any) -> str:
    text = clean_name(_text(value))
    try:
        validate_email(text)
    except ValidationError:
        raise ValueError("Enter a valid e-mail address.") from None
    if len(text) > EMAIL_MAX:
        raise ValueError(f"An e-mail address may have at most {EMAIL_MAX} characters.")
    return text


def clean_password(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("Enter a text.")
    if len(value) < PASSWORD_MIN:
        raise ValueError(f"A password needs at least {PASSWORD_MIN} characters.")
    if not is_storable(value):
        raise ValueError("A password must not hold NUL or broken characters.")
    return value


def clean_role(value: Any) -> str:
    if value not in Role.values:
        raise ValueError(UNKNOWN_ROLE)
    return str(value)


def clean_flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("Must be true or false.")
    return value


CLEANERS: Mapping[str, Callable[[Any], Any]] = {
    "username": clean_username,
    "email": clean_email,
    "password": clean_password,
    "role": clean_role,
    "is_active": clean_flag,
}


def clean_fields(data: Mapping[str, Any]) -> dict[str, Any]:
    """Every field of `data` as it is to be kept; InvalidInput tells of all the bad ones at once."""
    clean: dict[str, Any] = {}
    details: dict[str, list[str]] = {}
    for field, value in data.items():
        try:
            clean[field] = CLEANERS[field](value)
        except ValueError as error:
            details[field] = [str(error)]
    if list(details) == ["role"]:
        raise InvalidInput(UNKNOWN_ROLE, error="Invalid role", details=details)
    if details:
        field, messages = next(iter(details.items()))
        raise InvalidInput(f"{field}: {messages[0]}", details=details)
    return clean


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("Enter a text.")
    if not is_storable(value):
        raise ValueError("Must not hold NUL or broken characters.")
    return value
