"""The page on which people choose their language and time zone."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils import translation
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminSelectWidget

from accounts import services
from accounts.models import User
from accounts.viewing import zone_names
from cronsched.core import clock
from cronsched.core.admin import in_words
from cronsched.core.errors import DomainError


class ViewingForm(forms.Form):
    language = forms.ChoiceField(label=_("Language"), required=False, widget=UnfoldAdminSelectWidget())
    time_zone = forms.ChoiceField(
        label=_("Time zone"),
        required=False,
        widget=UnfoldAdminSelectWidget(),
        help_text=_("Of the times on these pages. When a job runs is said by the job's own zone."),
    )

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user
        self.initial = {"language": user.language, "time_zone": user.time_zone}
        self.fields["language"].choices = [("", _("The browser's")), *settings.LANGUAGES]  # type: ignore[attr-defined]
        self.fields["time_zone"].choices = zone_choices()  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        """Chosen by the service, which alone says what may be chosen."""
        cleaned: dict[str, Any] = super().clean() or {}
        if not self.errors:
            try:
                services.choose_viewing(self.user, **cleaned, now=clock.now())
            except DomainError as refusal:
                raise forms.ValidationError(in_words(refusal)) from None
        return cleaned


def zone_choices() -> list[Any]:
    """The zones by their areas, as a list of a browser shows them."""
    scheduler = gettext("The scheduler's (%s)") % settings.SCHEDULER_TIMEZONE
    utc, *places = zone_names()
    areas = groupby(places, key=lambda name: name.partition("/")[0])
    return [
        ("", scheduler),
        (utc, utc),
        *((area, [(name, name.replace("_", " ")) for name in names]) for area, names in areas),
    ]


def viewing_page(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    user = request.user
    assert isinstance(user, User)  # noqa: S101 - the site lets nobody else in
    form = ViewingForm(user, request.POST or None)
    if not form.is_valid():
        page = {**context, "title": gettext("Language and time"), "form": form}
        return TemplateResponse(request, "admin/viewing.html", page)
    # In the words of the page that follows.
    with translation.override(user.language or translation.get_language_from_request(request)):
        messages.success(request, gettext("Saved."))
    return HttpResponseRedirect(request.path)
