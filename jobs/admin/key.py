"""API keys: one's own, and all of them for admins. A new one is shown once, on the page that follows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display
from unfold.widgets import UnfoldAdminDateWidget, UnfoldAdminSelectWidget

from accounts.admin import actor
from accounts.api_keys import revoke_api_key
from accounts.models import ApiKey, User
from accounts.roles import is_admin
from cronsched.core import clock
from cronsched.core.admin import ServiceAdmin, ServiceForm
from cronsched.core.admin_display import badge, moment
from cronsched.core.errors import InvalidInput
from jobs.services.api_keys import create_key
from taxonomy.models import PicTeam

_COLOURS = {"active": "success", "revoked": "danger", "expired": "warning"}


class KeyForm(ServiceForm):
    aliases: ClassVar[Mapping[str, str]] = {"team": "only_team", "expires_at": "last_day"}

    only_team = forms.ModelChoiceField(
        label=_("Only for team"),
        queryset=PicTeam.objects.filter(is_active=True),
        required=False,
        widget=UnfoldAdminSelectWidget(),
        help_text=_("The key then reaches this team's jobs and their runs, and no others."),
    )

    last_day = forms.DateField(
        label=_("Last day"),
        required=False,
        widget=UnfoldAdminDateWidget(),
        help_text=_("It ends with this day. Empty: it does not end by itself."),
    )

    class Meta:
        model = ApiKey
        fields: ClassVar[list[str]] = ["name", "role", "owner"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if owner := self.fields.get("owner"):
            owner.required = False
            owner.help_text = _("In whose name it acts. Empty: in yours.")

    def _post_clean(self) -> None:
        """An owner who is none is not shown again: the field would look its id up."""
        super()._post_clean()
        if "owner" in self.errors:
            self.show_as_sent("owner", "")


@admin.register(ApiKey)
class ApiKeyAdmin(ServiceAdmin):
    form = KeyForm
    list_display = ("name", "begins", "owner", "role", "team", "state", "used", "expiry")
    list_select_related = ("owner",)
    search_fields = ("name", "prefix", "owner__username_key")
    autocomplete_fields = ("owner",)
    actions = ("revoke",)
    fieldsets = ((None, {"fields": ("name", "begins", "owner", "role", "team", "state", "used", "expiry")}),)
    add_fieldsets = ((None, {"fields": ("name", "role", "only_team", "last_day", "owner")}),)
    own_add_fieldsets = ((None, {"fields": ("name", "role", "only_team", "last_day")}),)
    empty_text = _("A key lets a program use the API in your name, with no more rights than you choose.")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        keys: QuerySet[ApiKey] = super().get_queryset(request)
        return keys.visible_to(request.user)  # type: ignore[attr-defined]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is not None:
            return self.fieldsets
        return self.add_fieldsets if is_admin(request.user) else self.own_add_fieldsets

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_active)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A key is not edited: revoke it, and make another."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_active)

    def create(self, request: HttpRequest, data: dict[str, Any]) -> ApiKey:
        by = actor(request)
        owner = _owner(data["owner"]) if data.get("owner") else by
        team = PicTeam.objects.filter(pk=data["team"]).first() if data.get("team") else None
        key, text = create_key(
            name=data.get("name", ""),
            owner=owner,
            role=data.get("role", ""),
            team=team.slug if team else "",
            expires_at=_end_of(data.get("expires_at")),
            by=by,
            now=clock.now(),
            via="admin",
        )
        words = _("The key, shown only this once: {}")
        self.message_user(request, format_html(str(words), text), messages.WARNING)
        return key

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: Any = None) -> HttpResponse:
        return HttpResponseRedirect(self.url("changelist"))

    @admin.action(permissions=["revoke"], description=_("Revoke: end these keys at once"))
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        now, by = clock.now(), actor(request)
        self.apply_each(
            request,
            queryset,
            lambda key: revoke_api_key(key, by=by, now=now, via="admin"),
            done=gettext("Revoked"),
            may=lambda request, key: is_admin(request.user) or key.owner_id == request.user.pk,
        )

    @display(description=_("key"), ordering="prefix")
    def begins(self, obj: ApiKey) -> str:
        return f"{obj.prefix}…"

    @display(description=_("state"))
    def state(self, obj: ApiKey) -> str:
        is_over = obj.expires_at is not None and obj.expires_at <= clock.now()
        word = "revoked" if obj.revoked_at else "expired" if is_over else "active"
        return badge(word, str(_(word)), colours=_COLOURS)

    @display(description=_("last used"), ordering="last_used_at")
    def used(self, obj: ApiKey) -> str:
        return moment(obj.last_used_at, now=clock.now())

    @display(description=_("expires"), ordering="expires_at")
    def expiry(self, obj: ApiKey) -> str:
        return moment(obj.expires_at, now=clock.now())


def _owner(key: str) -> User:
    try:
        owner = User.objects.filter(pk=key).first()
    except ValidationError:
        owner = None
    if owner is None:
        raise InvalidInput("owner must be the id of a user, or null.", field="owner")
    return owner


def _end_of(day: str | None) -> datetime | None:
    """The midnight that ends a day, in the scheduler's timezone; None for no day."""
    if not day:
        return None
    try:
        following = date.fromisoformat(day) + timedelta(days=1)
    except (ValueError, OverflowError):
        raise InvalidInput("expires_at must be a date, written YYYY-MM-DD.", field="expires_at") from None
    return datetime.combine(following, time.min, clock.scheduler_zone())
