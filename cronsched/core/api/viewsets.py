"""The base of every viewset: one clock reading, one table of rights, one order of refusals.

A request is refused in this order: 405 where the method is not declared, 401, 403 for the role, 406,
404, 403 for another's object, 400. Reading the body and the query comes last, so a viewset
calls `get_object()` before it looks at `self.body` or `self.params`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import cached_property
from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.exceptions import MethodNotAllowed, NotAuthenticated
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from cronsched.core import clock
from cronsched.core.api.exceptions import InvalidPayload
from cronsched.core.api.params import Params, parse_uuid, refuse_unstorable
from cronsched.core.errors import Forbidden, NotFound

_CRUD = ("list", "create", "retrieve", "update", "partial_update", "destroy")


@dataclass(frozen=True, kw_only=True)
class Right:
    """Who may take an action: `role` judges the user, `owner` the user and the object found.

    The functions come from accounts.roles. `error` and `message` are said by a refusal of `owner`.
    """

    role: Callable[[Any], bool] | None
    owner: Callable[[Any, Any], bool] | None = None
    error: str = Forbidden.error
    message: str = "You may not do this."

    @property
    def excludes_someone(self) -> bool:
        """Whether a person who is signed in may be told 403."""
        return self.owner is not None or self.role not in (None, _signed_in)


def _signed_in(user: Any) -> bool:
    return bool(user.is_authenticated)


class Keys(Enum):
    """What API keys may do here. Nothing, unless a viewset says so: what is new is closed to them."""

    NEVER = "never"
    # Those that are not limited to a team.
    UNLIMITED = "unlimited"
    ALL = "all"


ANYONE = Right(role=None)
SIGNED_IN = Right(role=_signed_in)


class ContractViewSet(GenericViewSet[Any]):
    """Subclasses declare `rights` for every action they have; a missing one fails at import.

    `queryset` must have `visible_to(user)` (jobs.querysets), which is applied to every request.
    `not_found_error` and `not_found_message` (with `{id}`) are this resource's words for a 404.
    """

    rights: ClassVar[Mapping[str, Right]] = {}
    format_kwarg = None
    lookup_field = "pk"
    lookup_value_regex = "[^/]+"
    # False for what is answered whatever the client says that it accepts.
    negotiates: ClassVar[bool] = True
    # For all actions, or by action (others: NEVER).
    keys: ClassVar[Keys | Mapping[str, Keys]] = Keys.NEVER
    not_found_error: ClassVar[str] = "Not found"
    not_found_message: ClassVar[str] = "Nothing was found with ID: {id}"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        missing = _actions_of(cls) - set(cls.rights)
        if missing:
            raise TypeError(f"{cls.__name__}.rights says nothing about: {', '.join(sorted(missing))}.")

    @cached_property
    def now(self) -> datetime:
        """The time of this request, read once."""
        return clock.now()

    @property
    def user(self) -> Any:
        """Whoever asks; an accounts.models.User wherever the right is not ANYONE."""
        return self.request.user

    @property
    def right(self) -> Right | None:
        """None for a method that this path does not have."""
        return self.rights.get(getattr(self, "action", None) or "")

    # ---- refusals, in their order ----

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if request.method == "OPTIONS":
            return
        if self.right is None:
            raise MethodNotAllowed(str(request.method))
        super().initial(request, *args, **kwargs)
        if self.negotiates:
            super().perform_content_negotiation(request)

    def perform_content_negotiation(self, request: Request, force: bool = False) -> tuple[BaseRenderer, str]:
        """What answers, refusals too, are written with. Whether it is accepted is asked after who asks."""
        renderer = self.get_renderers()[0]
        return renderer, str(renderer.media_type)

    def perform_authentication(self, request: Request) -> None:
        """401 for everyone unknown. What is open to anyone is open with a stale token, too."""
        if self.right is ANYONE:
            return
        if not request.user.is_authenticated:
            raise NotAuthenticated

    def check_permissions(self, request: Request) -> None:
        right = self.right
        if right is None or right.role is None:
            return
        self._check_key(getattr(request.user, "key_team", None))
        if not right.role(request.user):
            raise Forbidden(f"Your role ({self.user.role}) does not allow this.")

    def _check_key(self, team: str | None) -> None:
        """`team` is None for a person, "" for a key without a limit."""
        if team is None:
            return
        keys = self.keys if isinstance(self.keys, Keys) else self.keys.get(self.action, Keys.NEVER)
        if keys is Keys.NEVER:
            raise Forbidden("An API key may not do this: sign in as a person.")
        if team and keys is Keys.UNLIMITED:
            raise Forbidden(f"This API key is limited to the team {team}, and this goes beyond it.")

    def get_queryset(self) -> QuerySet[Any]:
        queryset: Any = super().get_queryset()
        visible: QuerySet[Any] = queryset.visible_to(self.request.user)
        return visible

    def get_object(self) -> Any:
        """The object of this path, refused with 404, then with 403 where `owner` says no."""
        found = self.find(self.kwargs[self.lookup_url_kwarg or self.lookup_field])
        self.check_owner(found)
        return found

    def find(self, text: str, queryset: QuerySet[Any] | None = None) -> Any:
        """The row whose id is `text`; 404 too where `text` is no id."""
        rows = self.get_queryset() if queryset is None else queryset
        found = rows.filter(pk=pk).first() if (pk := parse_uuid(text)) else None
        if found is None:
            raise self.not_found(text)
        return found

    def not_found(self, text: str | UUID) -> NotFound:
        return NotFound(self.not_found_message.format(id=text), error=self.not_found_error)

    def check_owner(self, found: Any) -> None:
        right = self.right
        if right is not None and right.owner is not None and not right.owner(self.request.user, found):
            raise Forbidden(right.message, error=right.error)

    # ---- what came in ----

    @cached_property
    def params(self) -> Params:
        """The query's parameters, without what no database can store."""
        params: Params = self.request.query_params.dict()
        refuse_unstorable(params)
        return params

    @property
    def body(self) -> Mapping[str, Any]:
        """The JSON object that was sent; empty where nothing was."""
        data = self.request.data
        if not isinstance(data, Mapping):
            raise InvalidPayload("The body must be a JSON object.")
        return data

    def read(
        self, serializer_class: type[serializers.Serializer[Any]], *, partial: bool = False
    ) -> dict[str, Any]:
        """The body, validated by a serializer; only the keys that were sent when `partial`."""
        serializer = serializer_class(data=self.body, partial=partial, context=self.get_serializer_context())
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)

    # ---- what goes out ----

    def show(self, instance: Any, serializer_class: type[serializers.Serializer[Any]] | None = None) -> Any:
        """One object, or a list of them, as the viewset's serializer (or another) shows it."""
        many = isinstance(instance, QuerySet | list | tuple)
        serializer = (serializer_class or self.get_serializer_class())(
            instance, many=many, context=self.get_serializer_context()
        )
        return serializer.data

    def answer(self, *, status: int = 200, **body: Any) -> Response:
        """An envelope: `self.answer(message="Job created successfully", job=..., status=201)`."""
        return Response(body, status=status)

    def options(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """Which methods there are (`Allow`), to anyone; CORS preflights never come this far."""
        return Response(status=204)


def _actions_of(cls: type[ContractViewSet]) -> set[str]:
    """Every action that a router could bind to a method."""
    actions = {name for name in _CRUD if hasattr(cls, name)}
    for extra in cls.get_extra_actions():
        actions.update(getattr(extra, "mapping", {}).values())
    return actions
