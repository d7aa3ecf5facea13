"""Each user's own notices and wishes, and, for admins, where Slack is."""

from __future__ import annotations

import json
from typing import Any, ClassVar
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST
from unfold.contrib.filters.admin import ChoicesDropdownFilter, DropdownFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from accounts.admin import AuditedAdmin, actor
from accounts.choices import AuditKind
from accounts.roles import is_own
from cronsched.core import clock
from cronsched.core.admin import AdminsOnly, BaseAdmin, ReadOnlyAdmin, ServiceForm
from cronsched.core.admin_chips import Chip
from cronsched.core.admin_display import EMPTY, badge, moment, preformatted, titled
from cronsched.core.admin_filters import PeriodFilter
from cronsched.core.said import said
from notifications.engine.mail import build_mail
from notifications.engine.slack import build_post
from notifications.engine.words import title_of
from notifications.models import (
    Channel,
    EmailOptOut,
    Message,
    MessageState,
    Notification,
    NotificationPreferences,
    NotificationType,
    SlackSettings,
)
from notifications.services.notices import count_unread, mark_read
from notifications.services.outbox import send_again
from notifications.services.preferences import get_preferences, update_preferences
from notifications.services.slack_settings import (
    get_slack_settings,
    masked_webhook_url,
    update_slack_settings,
)
from notifications.services.slack_test import send_slack_test
from notifications.unsubscribe import WORDS, subscribe_again

MESSAGE_COLOURS = {
    MessageState.QUEUED.value: "primary",
    MessageState.SENDING.value: "info",
    MessageState.SENT.value: "success",
    MessageState.MERGED.value: "default",
    MessageState.FAILED.value: "danger",
}


class UnreadFilter(DropdownFilter):  # type: ignore[misc]
    title = _("state")
    parameter_name = "unread"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("1", _("unread")), ("0", _("read"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in {"0", "1"}:
            return queryset
        return queryset.unread() if self.value() == "1" else queryset.read()  # type: ignore[attr-defined]


@admin.register(Notification)
class NotificationAdmin(ReadOnlyAdmin):
    """The inbox. Opening a notice marks it as read, and leads to what it is about."""

    list_display = ("notice", "type_label", "created")
    list_display_links = None
    list_filter = (UnreadFilter, ("type", ChoicesDropdownFilter), ("created_at", PeriodFilter))
    search_fields = ("title", "message")
    actions = ("mark_read", "delete_selected")
    list_before_template = "admin/notifications/inbox.html"
    empty_text = _(
        "What happens to your jobs is told here: a run that failed, a job that ended, a job that was changed."
    )
    empty_link = (_("My preferences"), "admin:notifications_notificationpreferences_changelist")
    fields = ("headline", "type_label", "words", ("job", "execution"), ("created", "count"), "read_at")
    readonly_fields = ("headline", "type_label", "words", "job", "execution", "created")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Notification]:
        own: QuerySet[Notification] = Notification.objects.of(request.user)
        return own.select_related("related_job")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is None or is_own(request.user, user_id=obj.user_id)

    def get_urls(self) -> list[Any]:
        guard = self.admin_site.admin_view
        return [
            path("unread/", guard(self.unread_view), name="notifications_notification_unread"),
            path(
                "mark-all-read/",
                guard(require_POST(self.mark_all_read_view)),
                name="notifications_notification_mark_all_read",
            ),
            path("<uuid:object_id>/open/", guard(self.open_view), name="notifications_notification_open"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return super().changelist_view(request, {"chips": _chips(request), **(extra_context or {})})

    def unread_view(self, request: HttpRequest) -> JsonResponse:
        """How many there are, for the bell of the page that asks."""
        return JsonResponse({"unread": count_unread(user=request.user)})

    def mark_all_read_view(self, request: HttpRequest) -> HttpResponse:
        count = mark_read(user=request.user, now=clock.now())
        self.message_user(request, gettext("Marked as read: %d.") % count, messages.SUCCESS)
        return HttpResponseRedirect(self.url("changelist"))

    def open_view(self, request: HttpRequest, object_id: UUID) -> HttpResponse:
        notice = self.get_object(request, str(object_id))
        if notice is None:
            raise Http404
        mark_read(user=request.user, ids=[notice.pk], now=clock.now())
        return HttpResponseRedirect(_place(notice) or self.url("change", notice.pk))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        notice = self.get_object(request, object_id)
        if notice is not None and not notice.is_read:
            mark_read(user=request.user, ids=[notice.pk], now=clock.now())
        return super().change_view(request, object_id, form_url, extra_context)

    @admin.action(description=_("Mark as read"))
    def mark_read(self, request: HttpRequest, queryset: QuerySet[Notification]) -> None:
        ids = list(queryset.values_list("pk", flat=True))
        count = mark_read(user=request.user, ids=ids, now=clock.now())
        self.message_user(request, gettext("Marked as read: %d.") % count, messages.SUCCESS)

    @display(description=_("notice"))
    def notice(self, obj: Notification) -> str:
        """The title as a link, bold while it is unread, and the reason below it."""
        words = {"title": said(obj.title), "message": said(obj.message)}
        return render_to_string(
            "admin/notifications/notice.html", {"notice": obj, "url": self.url("open", obj.pk), **words}
        )

    @display(description=_("title"), ordering="title")
    def headline(self, obj: Notification) -> str:
        return said(obj.title)

    @display(description=_("message"))
    def words(self, obj: Notification) -> str:
        return said(obj.message)

    @display(description=_("type"), ordering="type")
    def type_label(self, obj: Notification) -> str:
        return badge(obj.type, obj.get_type_display())

    @display(description=_("created"), ordering="created_at")
    def created(self, obj: Notification) -> str:
        return moment(obj.created_at, now=clock.now())

    @display(description=_("job"))
    def job(self, obj: Notification) -> str:
        if obj.related_job is None:
            return EMPTY
        url = reverse("admin:jobs_job_page", args=[obj.related_job.pk])
        return format_html('<a class="text-link" href="{}">{}</a>', url, obj.related_job)

    @display(description=_("execution"))
    def execution(self, obj: Notification) -> str:
        if obj.related_execution_id is None:
            return EMPTY
        url = reverse("admin:jobs_jobexecution_change", args=[obj.related_execution_id])
        return format_html('<a class="text-link" href="{}">{}</a>', url, gettext("open the run"))


def _place(notice: Notification) -> str:
    """Where what a notice is about is to be seen; "" where it is gone, or was never one thing."""
    if notice.related_execution_id is not None:
        return reverse("admin:jobs_jobexecution_change", args=[notice.related_execution_id])
    if notice.related_job_id is not None:
        return reverse("admin:jobs_job_page", args=[notice.related_job_id])
    return ""


def _chips(request: HttpRequest) -> list[Chip]:
    """What is looked for in an inbox, as links."""
    wanted: tuple[tuple[str, dict[str, str]], ...] = (
        (gettext("All"), {}),
        (gettext("Unread"), {"unread": "1"}),
        (gettext("Errors"), {"type__exact": NotificationType.ERROR.value}),
        (gettext("Warnings"), {"type__exact": NotificationType.WARNING.value}),
    )
    present = {name: value for name, value in request.GET.items() if name in {"unread", "type__exact"}}
    return [Chip(label=label, query=urlencode(query), is_chosen=query == present) for label, query in wanted]


class OneRowAdmin(BaseAdmin):
    """A page of one row: the list leads straight to it, and nobody adds or deletes it."""

    def row_for(self, request: HttpRequest) -> Any:
        raise NotImplementedError

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            return super().changelist_view(request, extra_context)
        return HttpResponseRedirect(self.url("change", self.row_for(request).pk))

    def response_post_save_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        return HttpResponseRedirect(self.url("change", obj.pk))


@admin.register(NotificationPreferences)
class NotificationPreferencesAdmin(OneRowAdmin, AuditedAdmin):
    fields = (
        "email_on_job_success",
        "email_on_job_failure",
        "email_on_job_disabled",
        "daily_digest",
        "weekly_report",
        "browser_notifications",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[NotificationPreferences]:
        return NotificationPreferences.objects.filter(user=actor(request))

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is None or is_own(request.user, user_id=obj.user_id)

    def row_for(self, request: HttpRequest) -> NotificationPreferences:
        return get_preferences(request.user)

    def update(self, request: HttpRequest, obj: Any, data: dict[str, Any]) -> NotificationPreferences:
        return update_preferences(obj.user, changes=data, now=clock.now(), by=actor(request), via="admin")


class SlackForm(ServiceForm):
    webhook_url = forms.CharField(
        label=_("Webhook URL"),
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "spellcheck": "false"}),
        help_text=_("Kept encrypted and shown masked: leave it as it is to keep it, empty it to remove it."),
    )

    class Meta:
        model = SlackSettings
        fields: ClassVar[list[str]] = ["is_enabled", "webhook_url", "channel"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["webhook_url"] = masked_webhook_url(self.instance)


@admin.register(SlackSettings)
class SlackSettingsAdmin(AdminsOnly, OneRowAdmin, AuditedAdmin):
    form = SlackForm
    fields = ("is_enabled", "webhook_url", "channel")
    change_form_outer_after_template = "admin/_object_changes.html"
    audit_kind = AuditKind.SLACK.value
    change_form_outer_before_template = "admin/notifications/slack_toolbar.html"

    def row_for(self, request: HttpRequest) -> SlackSettings:
        return get_slack_settings()

    def update(self, request: HttpRequest, obj: Any, data: dict[str, Any]) -> SlackSettings:
        return update_slack_settings(data=data, by=request.user, now=clock.now(), via="admin")

    def get_urls(self) -> list[Any]:
        name = "notifications_slacksettings_test"
        view = self.admin_site.admin_view(require_POST(self.test_view))
        return [path("test/", view, name=name), *super().get_urls()]

    def test_view(self, request: HttpRequest) -> HttpResponse:
        """Sends a test message and shows what came of it."""
        if not self.has_change_permission(request):
            raise PermissionDenied
        result = send_slack_test(by=request.user)
        self.message_user(request, said(result.message), messages.SUCCESS if result.ok else messages.ERROR)
        return HttpResponseRedirect(self.url("change", self.row_for(request).pk))


@admin.register(Message)
class MessageAdmin(AdminsOnly, ReadOnlyAdmin):
    """The outbox: what left, what waits, and what could not be delivered."""

    list_display = ("created", "state_label", "what", "to", "attempts", "next_try", "error")
    list_filter = (
        ("state", ChoicesDropdownFilter),
        ("channel", ChoicesDropdownFilter),
        ("event", ChoicesDropdownFilter),
        ("created_at", PeriodFilter),
    )
    search_fields = ("recipient", "last_error")
    search_help_text = _("Recipient or error")
    list_fullwidth = True
    actions = ("send_again",)
    empty_text = _(
        "Mail and Slack messages appear here as they leave, and those that could not be delivered."
    )
    empty_link = (_("Slack settings"), "admin:notifications_slacksettings_changelist")
    fields = (
        ("state_label", "event", "channel", "to"),
        ("created", "sent", "next_try", "attempts"),
        "last_error",
        "merged",
        "preview",
    )
    readonly_fields = ("state_label", "to", "created", "sent", "next_try", "merged", "preview")

    @admin.action(description=_("Send again"))
    def send_again(self, request: HttpRequest, queryset: QuerySet[Message]) -> None:
        ids = list(queryset.values_list("pk", flat=True))
        count = send_again(ids=ids, now=clock.now())
        self.message_user(request, gettext("Queued to be sent again: %d.") % count, messages.SUCCESS)

    @display(description=_("created"), ordering="created_at")
    def created(self, obj: Message) -> str:
        return moment(obj.created_at, now=clock.now(), seconds=True)

    @display(description=_("sent"), ordering="sent_at")
    def sent(self, obj: Message) -> str:
        return moment(obj.sent_at, now=clock.now(), seconds=True)

    @display(description=_("next attempt"), ordering="next_attempt_at")
    def next_try(self, obj: Message) -> str:
        if obj.state != MessageState.QUEUED:
            return EMPTY
        return moment(obj.next_attempt_at, now=clock.now(), seconds=True)

    @display(description=_("state"), ordering="state")
    def state_label(self, obj: Message) -> str:
        return badge(obj.state, obj.get_state_display(), colours=MESSAGE_COLOURS)

    @display(description=_("what"))
    def what(self, obj: Message) -> str:
        return title_of(obj)

    @display(description=_("to"), ordering="recipient")
    def to(self, obj: Message) -> str:
        return obj.recipient or str(obj.get_channel_display())

    @display(description=_("error"))
    def error(self, obj: Message) -> str:
        error = said(obj.last_error)
        return titled(error[:80], error) if error else EMPTY

    @display(description=_("told in"))
    def merged(self, obj: Message) -> str:
        if obj.merged_into is None:
            return EMPTY
        url = self.url("change", obj.merged_into)
        return format_html('<a class="text-link" href="{}">{}</a>', url, gettext("another message"))

    @display(description=_("text"))
    def preview(self, obj: Message) -> str:
        """As it is sent: the mail's text, or Slack's blocks."""
        if obj.channel == Channel.EMAIL:
            return preformatted(str(build_mail(obj).body))
        return preformatted(json.dumps(build_post(obj), indent=2, ensure_ascii=False))


@admin.register(EmailOptOut)
class EmailOptOutAdmin(AdminsOnly, ReadOnlyAdmin):
    """Addresses that were unsubscribed by the link of a mail, and the way back."""

    list_display = ("address_key", "about", "created")
    list_filter = (("created_at", PeriodFilter),)
    search_fields = ("address_key",)
    actions = ("subscribe_again",)
    fields = ("address_key", "about", "created")
    readonly_fields = ("about", "created")

    @admin.action(description=_("Subscribe again"))
    def subscribe_again(self, request: HttpRequest, queryset: QuerySet[EmailOptOut]) -> None:
        ids = list(queryset.values_list("pk", flat=True))
        count = subscribe_again(ids=ids, by=actor(request), now=clock.now())
        self.message_user(request, gettext("Subscribed again: %d.") % count, messages.SUCCESS)

    @display(description=_("no mail about"), ordering="topic")
    def about(self, obj: EmailOptOut) -> str:
        return said(WORDS.get(obj.topic, obj.topic))

    @display(description=_("since"), ordering="created_at")
    def created(self, obj: EmailOptOut) -> str:
        return moment(obj.created_at, now=clock.now())
