"""Users: all of them for admins; for everybody else their own profile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import BooleanRadioFilter, ChoicesDropdownFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminPasswordWidget

from accounts import services, throttle
from accounts.admin.audited import AuditedAdmin
from accounts.choices import AuditKind
from accounts.models import LoginFailure, User
from accounts.roles import Role, is_admin, may_view_user
from cronsched.core import clock
from cronsched.core.admin import AdminsOnly, ReadOnlyAdmin, ServiceForm
from cronsched.core.admin_display import badge, moment

ROLE_COLOURS = {Role.ADMIN.value: "primary", Role.USER.value: "info"}


class UserForm(ServiceForm):
    aliases: ClassVar[Mapping[str, str]] = {"password": "new_password"}
    never_shown = frozenset({"new_password"})

    # Never a field of the model: that one holds the hash.
    new_password = forms.CharField(
        label=_("Password"),
        required=False,
        strip=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text=_("At least 6 characters. On a user who is there: leave it empty to keep the password."),
    )

    class Meta:
        model = User
        fields: ClassVar[list[str]] = ["username", "email", "role", "is_active"]


@admin.register(User)
class UserAdmin(AuditedAdmin):
    form = UserForm
    list_display = ("username", "email", "role_label", "is_active", "last_seen", "created")
    list_filter = (("role", ChoicesDropdownFilter), ("is_active", BooleanRadioFilter))
    search_fields = ("username_key", "email_key")
    actions = ("activate", "deactivate", "unlock", "delete_selected")
    add_fieldsets = ((None, {"fields": ("username", "email", "new_password", "role")}),)
    fieldsets = (
        (None, {"fields": ("username", "email", "new_password", "role", "is_active")}),
        (_("Dates"), {"fields": ("last_seen", "created", "updated")}),
    )
    change_form_outer_before_template = "admin/accounts/jobs_of.html"
    change_form_outer_after_template = "admin/_object_changes.html"
    audit_kind = AuditKind.USER.value
    own_fieldsets = ((None, {"fields": ("username", "email", "role_label", "created")}),)

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        users: QuerySet[User] = super().get_queryset(request)
        return users if is_admin(request.user) else users.filter(pk=actor(request).pk)

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        return super().get_fieldsets(request, obj) if is_admin(request.user) else self.own_fieldsets

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        fixed = ("role_label", "last_seen", "created", "updated")
        return ("username", *fixed) if obj else fixed

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        user = context.get("original")
        if user is not None and is_admin(request.user):
            context |= {"jobs_count": user.jobs.count(), "jobs_url": _jobs_url(user)}
        return super().render_change_form(request, context, *args, **kwargs)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Say what becomes of their jobs, before they are gone."""
        users = list(objs)
        _names, counts, missing, protected = super().get_deleted_objects(users, request)
        return [_name_with_jobs(user) for user in users], counts, missing, protected

    def has_module_permission(self, request: HttpRequest) -> bool:
        return is_admin(request.user)

    def has_view_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        if obj is None:
            return is_admin(request.user)
        return may_view_user(request.user, user_id=obj.pk)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Everybody may change their own address; `get_fieldsets` offers no more to who is no admin."""
        return self.has_view_permission(request, obj)

    def create(self, request: HttpRequest, data: dict[str, Any]) -> User:
        given = {name: data.get(name, "") for name in ("username", "email", "password")}
        role = data.get("role", Role.VIEWER)
        return services.register_user(**given, role=role, by=actor(request), now=clock.now(), via="admin")

    def update(self, request: HttpRequest, obj: Any, data: dict[str, Any]) -> User:
        user = services.update_user(obj, changes=data, by=actor(request), now=clock.now(), via="admin").user
        if data.get("is_active") is False:
            self._tell_of_jobs(request, user)
        return user

    def _tell_of_jobs(self, request: HttpRequest, user: User) -> None:
        """Somebody was deactivated: their jobs run on, and somebody should look after them."""
        if count := user.jobs.count():
            text = ngettext(
                "{name} still owns {count} job, which runs on. {link}",
                "{name} still owns {count} jobs, which run on. {link}",
                count,
            )
            link = format_html('<a class="underline" href="{}">{}</a>', _jobs_url(user), gettext("Hand over"))
            self.message_user(
                request, format_html(text, name=user.username, count=count, link=link), messages.WARNING
            )

    def remove(self, request: HttpRequest, obj: Any) -> None:
        services.delete_user(obj, by=actor(request), now=clock.now(), via="admin")

    def response_post_save_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        if is_admin(request.user):
            return super().response_post_save_change(request, obj)
        return HttpResponseRedirect(self.url("change", obj.pk))

    @admin.action(permissions=["change"], description=_("Activate"))
    def activate(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        self._set_active(request, queryset, True, gettext("Activated"))

    @admin.action(permissions=["change"], description=_("Deactivate"))
    def deactivate(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        self._set_active(request, queryset, False, gettext("Deactivated"))

    @admin.action(permissions=["change"], description=_("Unlock sign-in after wrong passwords"))
    def unlock(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        names = [name for user in queryset for name in (user.username, user.email)]
        count = throttle.unlock(identifiers=names)
        self.message_user(request, gettext("Unlocked: %d.") % count, messages.SUCCESS)

    def _set_active(self, request: HttpRequest, users: QuerySet[User], value: bool, done: str) -> None:
        self.apply_each(
            request, users, lambda user: self.update(request, user, {"is_active": value}), done=done
        )

    @display(description=_("role"), ordering="role")
    def role_label(self, obj: User) -> str:
        return badge(obj.role, obj.get_role_display(), colours=ROLE_COLOURS)

    @display(description=_("last sign-in"), ordering="last_login")
    def last_seen(self, obj: User) -> str:
        return moment(obj.last_login, now=clock.now())

    @display(description=_("created"), ordering="created_at")
    def created(self, obj: User) -> str:
        return moment(obj.created_at, now=clock.now())

    @display(description=_("updated"), ordering="updated_at")
    def updated(self, obj: User) -> str:
        return moment(obj.updated_at, now=clock.now())


def _jobs_url(user: User) -> str:
    return f"{reverse('admin:jobs_job_changelist')}?owner={user.pk}"


def _name_with_jobs(user: User) -> str:
    count = user.jobs.count()
    if not count:
        return user.username
    text = ngettext(
        "%(name)s, whose %(count)d job stays without an owner: hand it over first to keep one",
        "%(name)s, whose %(count)d jobs stay without an owner: hand them over first to keep one",
        count,
    )
    return text % {"name": user.username, "count": count}


@admin.register(LoginFailure)
class FailedSignInAdmin(AdminsOnly, ReadOnlyAdmin):
    """Failed sign-ins as accounts.throttle counts them, without what was typed."""

    empty_text = _("Nobody has typed a wrong password lately.")
    list_display = ("where", "failures", "resets")
    fields = list_display
    actions = ("unlock",)

    @admin.action(description=_("Unlock: forget these failures"))
    def unlock(self, request: HttpRequest, queryset: QuerySet[LoginFailure]) -> None:
        count = queryset.delete()[0]
        self.message_user(request, gettext("Unlocked: %d.") % count, messages.SUCCESS)

    @display(description=_("from"))
    def where(self, obj: LoginFailure) -> str:
        kind, _separator, value = obj.key.partition(":")
        # An account is kept as a digest: people type passwords where the name belongs.
        return value if kind == "address" else gettext("an account (%s…)") % value[:8]

    @display(description=_("count"), ordering="count")
    def failures(self, obj: LoginFailure) -> int:
        return obj.count

    @display(description=_("counted until"), ordering="resets_at")
    def resets(self, obj: LoginFailure) -> str:
        return moment(obj.resets_at, now=clock.now())


def actor(request: HttpRequest) -> User:
    """Who is signed in, for the services' `by`."""
    assert isinstance(request.user, User)  # noqa: S101 - the site lets nobody else in
    return request.user
