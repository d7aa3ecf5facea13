"""The page that puts a job back to an earlier version: what would change, field by field, then a POST."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.translation import gettext as _

from accounts.admin import actor
from accounts.audit import changes_of
from accounts.audit_words import Line, field_lines
from accounts.choices import AuditKind
from accounts.models import AuditEntry
from accounts.roles import is_admin
from accounts.templatetags.history import change_rows
from cronsched.core import clock
from cronsched.core.admin import CappedPaginator, in_words, labelled, labels_of
from cronsched.core.errors import DomainError, NotFound
from jobs.models import Job
from jobs.services.restore import Version, restore_job, version_of

CHANGES_ON_A_PAGE: Final = 50


class RestoreMixin:
    """Mixed in before JobAdmin: `<job>/history/` for readers, `<job>/restore/<entry>/` for its owner."""

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.restore_view)  # type: ignore[attr-defined]
        route = "<uuid:object_id>/restore/<uuid:entry_id>/"
        return [path(route, view, name="jobs_job_restore"), *super().get_urls()]  # type: ignore[misc]

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """All changes of a job, a page at a time, for everybody who may read it; with the ways back."""
        job = self.get_object(request, object_id)  # type: ignore[attr-defined]
        if job is None:
            raise Http404
        entries = CappedPaginator(changes_of(AuditKind.JOB, job.pk), CHANGES_ON_A_PAGE)
        page = entries.get_page(request.GET.get("p"))
        may_restore = self.has_change_permission(request, job)  # type: ignore[attr-defined]
        of_job = urlencode({"kind__exact": AuditKind.JOB.value, "of": str(job.pk)})
        context = {
            **self.admin_site.each_context(request),  # type: ignore[attr-defined]
            "title": _("Changes of %s") % job.name,
            "opts": self.opts,  # type: ignore[attr-defined]
            "object": job,
            "page": page,
            "rows": change_rows(
                page, restore="admin:jobs_job_restore" if may_restore else "", has_newest=page.number == 1
            ),
            "job_url": self.url("page", job.pk),  # type: ignore[attr-defined]
            "list_url": f"{reverse('admin:accounts_auditentry_changelist')}?{of_job}"
            if is_admin(request.user)
            else "",
        }
        return TemplateResponse(request, "admin/jobs/history.html", context)

    def restore_view(self, request: HttpRequest, object_id: UUID, entry_id: UUID) -> HttpResponse:
        job, entry = self._version_found(request, object_id, entry_id)
        if request.method == "POST":
            return self._restore_version(request, job, entry)
        return self._ask_version(request, job, entry)

    def _version_found(self, request: HttpRequest, object_id: UUID, entry_id: UUID) -> tuple[Job, AuditEntry]:
        job = self.get_object(request, str(object_id))  # type: ignore[attr-defined]
        entry = AuditEntry.objects.filter(pk=entry_id).first()
        if job is None or entry is None:
            raise Http404
        if not self.has_change_permission(request, job):  # type: ignore[attr-defined]
            raise PermissionDenied
        return job, entry

    def _ask_version(
        self, request: HttpRequest, job: Job, entry: AuditEntry, refusal: DomainError | None = None
    ) -> HttpResponse:
        try:
            version = version_of(job, entry, by=actor(request))
        except (NotFound, ValidationError):
            raise Http404 from None
        chosen = request.POST.getlist("field") if request.method == "POST" else list(version.data)
        faults = refusal.details if refusal is not None else {}
        context = {
            **self.admin_site.each_context(request),  # type: ignore[attr-defined]
            "title": _("Restore an earlier version"),
            "opts": self.opts,  # type: ignore[attr-defined]
            "object": job,
            "entry": entry,
            "rows": [_row(field, version, chosen, faults) for field in version.differences],
            "fault": in_words(refusal, labels_of(Job)) if refusal is not None and not faults else "",
            "job_url": self.url("page", job.pk),  # type: ignore[attr-defined]
        }
        return TemplateResponse(request, "admin/jobs/restore.html", context)

    def _restore_version(self, request: HttpRequest, job: Job, entry: AuditEntry) -> HttpResponse:
        fields = request.POST.getlist("field")
        try:
            restore_job(job, entry=entry, by=actor(request), now=clock.now(), via="admin", fields=fields)
        except NotFound:
            raise Http404 from None
        except DomainError as refusal:
            return self._ask_version(request, job, entry, refusal)
        self.message_user(request, _("The earlier version was restored."), messages.SUCCESS)  # type: ignore[attr-defined]
        return HttpResponseRedirect(self.url("page", job.pk))  # type: ignore[attr-defined]


def _row(field: str, version: Version, chosen: list[str], faults: dict[str, list[str]]) -> dict[str, Any]:
    lines: list[Line] = list(field_lines(field, *version.differences[field]))
    return {
        "field": field,
        "lines": lines,
        "label": lines[0].label if lines else field,
        "left_out": version.left_out.get(field, ""),
        "is_chosen": field in chosen,
        "faults": [labelled(text, labels_of(Job)) for text in faults.get(field, [])],
    }
