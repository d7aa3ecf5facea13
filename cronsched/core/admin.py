"""The base of the admin site's pages: forms judged by services, lists that never count millions.

A form only reads what was typed. The service behind the page judges it, and what it refuses (a
DomainError) becomes words on the field at fault, in the same words as in the API. That happens
here and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import date
from functools import partial
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected as ask_before_deleting
from django.contrib.admin.utils import flatten_fieldsets, quote
from django.core.exceptions import ValidationError
from django.core.paginator import Page, Paginator
from django.db import connection, transaction
from django.db.models import Model, QuerySet
from django.forms.boundfield import BoundField
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.admin import ModelAdmin
from unfold.views import ChangeList

from cronsched.core.db import by_ids, locked
from cronsched.core.errors import DomainError, Forbidden
from cronsched.core.said import said

# Refusals that one bulk action spells out; the rest are counted.
REFUSALS_SHOWN = 20
# Beyond that many they are put together by their reason, with so many of the names.
NAMES_SHOWN = 5


def in_words(refusal: DomainError, labels: Mapping[str, Any] | None = None) -> str:
    """The refusal for a person, with its short type where that says more than "not valid"."""
    texts = [text for texts in refusal.details.values() for text in texts] or [refusal.message]
    message = " ".join(labelled(text, labels or {}) for text in texts)
    if refusal.error == type(refusal).error:
        return message
    return _("%(kind)s. %(message)s") % {"kind": said(refusal.error), "message": message}


def labelled(text: str, labels: Mapping[str, Any]) -> str:
    """`text` in the viewer's language, with the labels of fields in the place of their names in the API."""
    words = said(text)
    for name, label in labels.items():
        words = re.sub(rf"^{name}\b", capfirst(str(label)), words)
        # "name" alone is a word of many sentences.
        if "_" in name:
            words = re.sub(rf"\b{name}\b", str(label), words)
    return words


def _grouped(told: Iterable[tuple[str, str]]) -> list[tuple[list[str], str]]:
    """Each reason with the names of the rows that it holds for; the most frequent first."""
    by_words: dict[str, list[str]] = {}
    for name, words in told:
        by_words.setdefault(words, []).append(name)
    return sorted(((names, words) for words, names in by_words.items()), key=lambda item: -len(item[0]))


def labels_of(model: type[Model]) -> dict[str, Any]:
    return {field.name: field.verbose_name for field in model._meta.fields}


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than `cap` rows, so that a list of millions costs no more than a short one."""

    cap = 10_000
    template_name = "admin/pagination_capped.html"

    @cached_property
    def count(self) -> int:
        rows = self.object_list
        # Without an order the database may count along whichever index is shortest.
        return rows.order_by()[: self.cap].count() if isinstance(rows, QuerySet) else len(rows)

    def page(self, number: int | str) -> Page[Any]:
        """Finds the page by ids, which stand in the indexes, and reads its rows alone.

        Asked for rows with their joins in order, MariaDB was seen to sort the whole table.
        """
        page, rows = super().page(number), self.object_list
        if isinstance(page.object_list, QuerySet) and isinstance(rows, QuerySet):
            page.object_list = by_ids(rows, list(page.object_list.values_list("pk", flat=True)))
        return page

    @property
    def is_capped(self) -> bool:
        return self.count >= self.cap


class ListPage(ChangeList):  # type: ignore[misc]
    """Knows that without filters all rows are shown, so that nobody is offered to "show all".

    It is called by what it lists, where Django says "Select job to change".
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = capfirst(str(self.opts.verbose_name_plural))

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if not (self.query or self.has_active_filters):
            self.full_result_count = self.result_count


class ServiceForm(forms.ModelForm):  # type: ignore[type-arg]
    """Reads the fields and validates nothing; `refusal` is what a service said about them.

    The form of a row carries what it showed (`initial-<field>`, hidden beside each field). What is sent is
    compared with that and not with the row as it has become: a field that nobody touched is never written.
    One that was touched here and changed elsewhere meanwhile is refused once, and what stands there now
    counts as shown from then on: to save again is to overwrite it knowingly.
    """

    refusal: ClassVar[DomainError | None] = None
    # Where the service's name of a field is not the form's.
    aliases: ClassVar[Mapping[str, str]] = {}
    # Secrets: an empty field keeps them, and no copy of what is typed there ever goes into the page.
    never_shown: ClassVar[frozenset[str]] = frozenset()
    # The page's words for who changed a field, by the service's name of it; "" where nobody knows.
    who_changed: ClassVar[partial[str] | None] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            is_known = not self.is_bound or self[name].html_initial_name in self.data
            is_shown = not self.instance._state.adding and name not in self.never_shown
            field.show_hidden_initial = is_shown and is_known

    def _clean_fields(self) -> None:
        for name, bound in self._bound_items():  # type: ignore[attr-defined]
            self.cleaned_data[name] = _read(bound)

    @cached_property
    def changed_data(self) -> list[str]:
        """What was changed of what the form showed, whatever the row has become since."""
        fields = self._bound_items()  # type: ignore[attr-defined]
        return [name for name, bound in fields if bound.field.has_changed(_shown(bound), bound.data)]

    def _post_clean(self) -> None:
        """In the place of the model's own validation, which would speak in other words."""
        if self.refusal is None:
            self._refuse_overwriting()
            return
        details = self.refusal.details or {"": [in_words(self.refusal)]}
        for key, texts in details.items():
            name = self.field_of(key)
            for text in texts:
                self.add_error(name if name in self.fields else None, self.in_form_words(key, text))

    def field_of(self, key: str) -> str:
        """The form's field for the service's name of one."""
        return self.aliases.get(key, key)

    def in_form_words(self, key: str, text: str) -> str:
        """The service's sentence with the names of fields as the form has them: "End date is required." """
        names = {**{name: name for name in self.fields}, **self.aliases}
        labels = {api: self.fields[name].label or name for api, name in names.items() if name in self.fields}
        return labelled(text, labels)

    def typed(self) -> dict[str, Any]:
        """What the service is to judge: for a new row all that was filled in, else what was changed."""
        if self.instance._state.adding:
            names = [name for name, value in self.cleaned_data.items() if value not in (None, "")]
        else:
            names = self.changed_data
        services = {form_name: name for name, form_name in self.aliases.items()}
        return {services.get(name, name): self.as_input(name, self.cleaned_data[name]) for name in names}

    def _refuse_overwriting(self) -> None:
        """Say of each field that would be written over a change which this form never showed."""
        typed = self.typed()
        moved = [key for key in typed if self._is_overwriting(self.aliases.get(key, key), typed[key])]
        for key in moved:
            bound = self[self.aliases.get(key, key)]
            self.add_error(bound.name, self._overwriting_words(key, bound))
            self.show_as_sent(bound.html_initial_name, _as_hidden(bound))

    def show_as_sent(self, name: str, value: str) -> None:
        """Let the form that comes back hold this in the place of what was sent."""
        sent: Any = self.data
        self.data = sent.copy()
        self.data[name] = value  # type: ignore[index]

    def _is_overwriting(self, name: str, value: Any) -> bool:
        bound = self[name]
        if not bound.field.show_hidden_initial or _text_of(_sent(bound)) == _text_of(_as_hidden(bound)):
            return False
        # What both have changed to the same is no conflict; what follows from another field has no data.
        given = bound.data if name in self.changed_data else value
        return bool(bound.field.has_changed(bound.initial, given))

    def _overwriting_words(self, key: str, bound: BoundField) -> str:
        present = getattr(self.instance, bound.name, _as_hidden(bound))
        if isinstance(present, bool):
            present = _("yes") if present else _("no")
        who = (self.who_changed and self.who_changed(key)) or _(
            "Somebody changed this: it is “%s” now."
        ) % present
        advice = _(
            "That was after you had opened the form. Save again to put yours in its place, or enter what is "
            "there now to keep it."
        )
        return f"{who} {advice}"

    def as_input(self, name: str, value: Any) -> Any:
        """The value as a client of the API would send it."""
        if isinstance(value, date):
            return value.isoformat()
        return str(value.pk) if isinstance(value, Model) else value


def _read(bound: BoundField) -> Any:
    """The value in the field's type; what cannot be read stays text, for the service to refuse."""
    if bound.field.disabled:
        return bound.initial
    try:
        return bound.field.to_python(bound.data)
    except ValidationError:
        return bound.data


def _sent(bound: BoundField) -> Any:
    """What came back of the hidden copy; None where there is none."""
    return bound.form.data.get(bound.html_initial_name) if bound.field.show_hidden_initial else None


def _shown(bound: BoundField) -> Any:
    """What the form showed, in the field's type; without a hidden copy the row as it is."""
    sent = _sent(bound)
    # A choice of rows compares keys: to look the row up would cost a query, and it may be gone.
    if sent is None or isinstance(bound.field, forms.ModelChoiceField):
        return bound.initial if sent is None else sent
    try:
        return bound.field.to_python(sent)
    except ValidationError:
        return sent


def _as_hidden(bound: BoundField) -> str:
    """The row's present value as the hidden copy has it."""
    value = bound.field.hidden_widget().format_value(bound.field.prepare_value(bound.initial))
    return "" if value is None else str(value)


def _text_of(sent: Any) -> str:
    """Browsers send lines with their own ends."""
    return str(sent or "").replace("\r\n", "\n")


class LinesField(forms.CharField):
    """Text of several lines, with line ends as they are stored rather than as browsers send them."""

    def to_python(self, value: Any) -> str:
        return str(super().to_python(value)).replace("\r\n", "\n")


class BaseAdmin(ModelAdmin):  # type: ignore[misc]
    """What all pages share. Rights are the user's (`accounts.roles`): admins may all, others read."""

    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    compressed_fields = False
    list_filter_submit = True
    # Actions go row by row here: a page at a time is enough.
    list_disable_select_all = True
    empty_value_display = "–"
    # What an empty list says to do first, and a link (its words, its address by name) to do it.
    empty_text: Any = ""
    empty_link: tuple[Any, str] | None = None
    # What the history of changes (accounts.audit) calls these rows; "" where it keeps nothing of them.
    audit_kind = ""

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Filter a list by its filters alone: Django lets every column be asked for, secrets too."""
        filters = (entry[0] if isinstance(entry, tuple) else entry for entry in self.list_filter)
        offered = {name.split("__")[0] for name in filters if isinstance(name, str)}
        column = lookup.split("__")[0]
        is_ours = column in offered or column not in {field.name for field in self.opts.get_fields()}
        return is_ours and "regex" not in lookup and bool(super().lookup_allowed(lookup, value, request))

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ListPage]:
        return ListPage

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """The history of changes in the place of Django's own, which knows the admin site's changes alone."""
        answer: HttpResponse = super().history_view(request, object_id, extra_context)
        if not self.audit_kind or answer.status_code != HTTPStatus.OK:
            return answer
        if not request.user.is_superuser:
            return HttpResponseRedirect(self.url("change", object_id))
        query = urlencode({"kind__exact": self.audit_kind, "of": object_id})
        return HttpResponseRedirect(f"{reverse('admin:accounts_auditentry_changelist')}?{query}")

    def url(self, view: str, *args: Any) -> str:
        """The address of one of this page's views: "changelist", "change", …"""
        name = f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_{view}"
        return reverse(name, args=[quote(arg) for arg in args])

    def get_deleted_objects(
        self, objs: Iterable[Model], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Only the rows themselves: collecting what hangs on them would load a job's whole history."""
        objects = list(objs)
        return [str(obj) for obj in objects], {str(self.opts.verbose_name_plural): len(objects)}, set(), []

    def render_delete_form(self, request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
        return _without_scripts(super().render_delete_form(request, context))

    def apply_each(
        self,
        request: HttpRequest,
        rows: Iterable[Any],
        service: Callable[[Any], object],
        *,
        done: str,
        may: Callable[[HttpRequest, Any], bool] | None = None,
    ) -> list[Any]:
        """Call `service` for each row; say how many were `done`, and each refusal by the row's name.

        Returns what the service answered for those that were done.
        """
        may = may or self.has_change_permission
        answers: list[Any] = []
        refused: list[tuple[str, DomainError]] = []
        for row in rows:
            name = str(row)
            try:
                if not may(request, row):
                    raise Forbidden(_("this is not yours to change."))
                answers.append(service(row))
            except DomainError as refusal:
                refused.append((name, refusal))
        self.tell_each(request, len(answers), refused, done=done)
        return answers

    def tell_each(
        self, request: HttpRequest, count: int, refused: Iterable[tuple[str, DomainError]], *, done: str
    ) -> None:
        """How many were `done`, and each refusal by the row's name; of many refusals, each reason once."""
        if count:
            self.message_user(request, f"{done}: {count}.", messages.SUCCESS)
        labels = labels_of(self.model)
        told = [(name, in_words(refusal, labels)) for name, refusal in refused]
        groups = _grouped(told) if len(told) > REFUSALS_SHOWN else [([name], words) for name, words in told]
        for names, words in groups[:REFUSALS_SHOWN]:
            more = f", … ({len(names)})" if len(names) > NAMES_SHOWN else ""
            text = f"{', '.join(names[:NAMES_SHOWN])}{more}: {words}"
            self.message_user(request, text, messages.ERROR)
        if left := sum(len(names) for names, _words in groups[REFUSALS_SHOWN:]):
            self.message_user(request, _("%d more were refused.") % left, messages.ERROR)


class ReadOnlyAdmin(BaseAdmin):
    """Rows that only the product itself writes; so there is no history of changes to offer either."""

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        return super().render_change_form(request, {**context, "show_history": False}, *args, **kwargs)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class AdminsOnly:
    """Mixed in before a ModelAdmin: for other roles the page is not there."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_superuser)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)


class ServiceAdmin(BaseAdmin):
    """A page whose writes are the service calls `create`, `update` and `remove`."""

    form = ServiceForm
    actions: tuple[str, ...] = ("delete_selected",)

    def create(self, request: HttpRequest, data: dict[str, Any]) -> Model:
        raise NotImplementedError

    def update(self, request: HttpRequest, obj: Any, data: dict[str, Any]) -> Model:
        raise NotImplementedError

    def remove(self, request: HttpRequest, obj: Any) -> None:
        raise NotImplementedError

    def who_changed(self, obj: Any, name: str) -> str:
        """Who changed this field of the row last, when, and to what; "" where nobody knows."""
        return ""

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """The row; one that is being saved is held, so that what the form is compared with stays so."""
        if request.method == "POST" and connection.in_atomic_block:
            with suppress(ValidationError, ValueError):
                # By itself: the page's own query may count or join, which cannot be locked.
                list(locked(self.model._base_manager.filter(pk=object_id).values_list("pk")))
        return super().get_object(request, object_id, from_field)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        form.refusal = getattr(request, "refusal", None)
        form.who_changed = partial(self.who_changed, obj)
        # Fields that the form itself declares are there whatever the page offers: a right not given
        # must not be posted all the same.
        may_write = self.has_change_permission(request, obj) if change else self.has_add_permission(request)
        offered = set(flatten_fieldsets(self.get_fieldsets(request, obj))) if may_write else set()
        offered -= set(self.get_readonly_fields(request, obj))
        for name in [name for name in form.base_fields if name not in offered]:
            del form.base_fields[name]
        return form

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except DomainError as refusal:
            # Nothing was written. The form is shown once more, as it was sent, with the refusal on it.
            request.refusal = refusal  # type: ignore[attr-defined]
            return super().changeform_view(request, object_id, form_url, extra_context)

    def save_form(self, request: HttpRequest, form: ServiceForm, change: bool) -> Model:
        """The write itself, here because Django goes on with the row that this answers."""
        data = form.typed()
        if not change:
            return self.create(request, data)
        return self.update(request, form.instance, data) if data else form.instance

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        """Done by `save_form`."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """There are no inlines."""

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        self.remove(request, obj)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        try:
            return super().delete_view(request, object_id, extra_context)
        except DomainError as refusal:
            self.message_user(request, in_words(refusal), messages.ERROR)
            return HttpResponseRedirect(self.url("change", object_id))

    @admin.action(permissions=["delete"], description=gettext_lazy("Delete selected %(verbose_name_plural)s"))
    def delete_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        if not request.POST.get("post"):
            return _without_scripts(ask_before_deleting(self, request, queryset))
        self.apply_each(
            request,
            queryset,
            lambda row: self._delete_logged(request, row),
            done=_("Deleted"),
            may=self.has_delete_permission,
        )
        return None

    def _delete_logged(self, request: HttpRequest, row: Any) -> None:
        with transaction.atomic():
            self.log_deletions(request, [row])
            self.remove(request, row)


def _without_scripts(question: Any) -> HttpResponse:
    """ "Are you sure?" without the scripts of the list's filters, which fail where there is no filter."""
    if isinstance(question, TemplateResponse) and question.context_data is not None:
        question.context_data["media"] = forms.Media()
    answer: HttpResponse = question
    return answer
