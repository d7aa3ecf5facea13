"""Many jobs from a file: choose it, see what it would do, let it be stored; and the list as such a file.

A step is a request of its own, so that none takes long whatever the file; the page's script asks for
one after the other and shows how far it is. Without scripts a button does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, cast
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_POST, require_safe

from accounts.admin import actor
from accounts.audit_words import field_lines
from accounts.roles import may_create_jobs
from cronsched.core import cells, clock
from cronsched.core.admin import in_words
from cronsched.core.admin_export import CsvExport, csv_answer
from cronsched.core.crypto import SecretUnreadable
from cronsched.core.errors import DomainError, TooLarge
from jobs.models import JobUpload, UploadPhase
from jobs.services.bulk_upload import staged
from jobs.services.bulk_upload.columns import COLUMNS
from jobs.services.bulk_upload.export import csv_lines
from taxonomy.models import PicTeam

# The rest of the form beside the file.
FORM_MAX = 65_536
_AT_WORK = (UploadPhase.CHECKING, UploadPhase.STORING)


class UploadMixin(CsvExport):
    """Mixed in before JobAdmin. An upload is its user's alone; nobody else finds it."""

    export_name = "jobs"

    def export_lines(self, rows: QuerySet[Any]) -> Iterator[str]:
        return csv_lines(rows)  # type: ignore[arg-type]

    def get_urls(self) -> list[Any]:
        guard = self.admin_site.admin_view  # type: ignore[attr-defined]
        views: tuple[tuple[str, Any, str], ...] = (
            ("upload/", csrf_exempt(self.upload_view), "upload"),
            ("upload/template.csv", require_safe(self.template_view), "upload_template"),
            ("upload/<uuid:upload_id>/", require_safe(self.upload_page), "upload_page"),
            ("upload/<uuid:upload_id>/step/", require_POST(self.upload_step), "upload_step"),
            ("upload/<uuid:upload_id>/confirm/", require_POST(self.upload_confirm), "upload_confirm"),
            ("upload/<uuid:upload_id>/refused.csv", require_safe(self.upload_refused), "upload_refused"),
        )
        own = [path(route, guard(view), name=f"jobs_job_{name}") for route, view, name in views]
        return [*own, *super().get_urls()]

    # ---- choosing a file -------------------------------------------------------------------------

    def upload_view(self, request: HttpRequest) -> HttpResponse:
        """The length is looked at before anything is read; the check against forgery reads the form."""
        self._refuse_strangers(request)
        if int(request.META.get("CONTENT_LENGTH") or 0) > settings.UPLOAD_MAX_BYTES + FORM_MAX:
            text = _("The file is larger than %d bytes: split it.") % settings.UPLOAD_MAX_BYTES
            return self._form(request, TooLarge(text, field="file"), is_read=False)
        return csrf_protect(self._form_or_file)(request)

    def _form_or_file(self, request: HttpRequest) -> HttpResponse:
        if request.method != "POST":
            return self._form(request)
        file = request.FILES.get("file")
        if file is None:
            return self._form(request, TooLarge(_("Choose a file first."), field="file"))
        try:
            upload = staged.begin_upload(
                file=cast(BinaryIO, file.file),
                size=file.size or 0,
                filename=file.name or "",
                default_github_owner=request.POST.get("default_github_owner", ""),
                by=actor(request),
                now=clock.now(),
            )
        except DomainError as refusal:
            return self._form(request, refusal)
        return HttpResponseRedirect(reverse("admin:jobs_job_upload_page", args=[upload.pk]))

    def _form(
        self, request: HttpRequest, refusal: DomainError | None = None, *, is_read: bool = True
    ) -> HttpResponse:
        faults = refusal.details if refusal is not None else {}
        waiting = JobUpload.objects.filter(user=actor(request)).exclude(phase=UploadPhase.DONE).first()
        context = {
            "title": _("Upload jobs"),
            "faults": faults,
            "owner": request.POST.get("default_github_owner", "") if is_read else "",
            "default_owner": settings.GITHUB_DEFAULT_OWNER,
            "max_megabytes": round(settings.UPLOAD_MAX_BYTES / 1_048_576, 1),
            "columns": COLUMNS,
            "waiting": waiting,
        }
        status = refusal.status if refusal is not None else 200
        return self._render(request, "admin/jobs/upload.html", context, status=status)

    def template_view(self, request: HttpRequest) -> HttpResponseBase:
        """The columns, with a row for each kind of target; both are disabled, should they be uploaded."""
        self._refuse_strangers(request)
        team = PicTeam.objects.active().first()
        examples = _examples(team.slug if team else "your-team")
        titles = [column.title for column in COLUMNS]
        rows = ([example.get(title, "") for title in titles] for example in examples)
        return csv_answer(cells.csv_lines(titles, rows), "jobs-template.csv")

    # ---- one upload ------------------------------------------------------------------------------

    def upload_page(self, request: HttpRequest, upload_id: UUID) -> HttpResponse:
        upload = self._upload(request, upload_id)
        context = {
            "title": _("Upload jobs"),
            "upload": upload,
            "is_at_work": upload.phase in _AT_WORK,
            "phases": UploadPhase,
            "counts": upload.report["counts"],
            "total": upload.entry_count,
            **_tables(upload),
            **{name: _url(name, upload) for name in ("upload_step", "upload_confirm", "upload_refused")},
        }
        return self._render(request, "admin/jobs/upload_page.html", context)

    def upload_step(self, request: HttpRequest, upload_id: UUID) -> HttpResponse:
        upload = self._upload(request, upload_id)
        page = _url("upload_page", upload)
        try:
            upload = staged.take_step(upload, by=actor(request), now=clock.now())
        except SecretUnreadable:
            self.message_user(  # type: ignore[attr-defined]
                request, _("The file cannot be read any more: choose it again."), messages.ERROR
            )
            upload.delete()
            page = reverse("admin:jobs_job_upload")
            return JsonResponse({"is_at_work": False, "page": page}) if _by_script(request) else _to(page)
        if not _by_script(request):
            return _to(page)
        is_at_work = upload.phase in _AT_WORK
        progress = {"position": upload.position, "total": upload.entry_count}
        return JsonResponse({"is_at_work": is_at_work, "page": page, **progress})

    def upload_confirm(self, request: HttpRequest, upload_id: UUID) -> HttpResponse:
        upload = self._upload(request, upload_id)
        try:
            staged.confirm(upload, now=clock.now())
        except DomainError as refusal:
            self.message_user(request, in_words(refusal), messages.ERROR)  # type: ignore[attr-defined]
        return _to(_url("upload_page", upload))

    def upload_refused(self, request: HttpRequest, upload_id: UUID) -> HttpResponseBase:
        upload = self._upload(request, upload_id)
        if not upload.report["refused"]:
            raise Http404
        try:
            lines = staged.refused_lines(upload)
        except SecretUnreadable:
            raise Http404 from None
        return csv_answer(lines, "refused-rows.csv")

    def _upload(self, request: HttpRequest, upload_id: UUID) -> JobUpload:
        self._refuse_strangers(request)
        upload = JobUpload.objects.filter(pk=upload_id, user=actor(request)).first()
        if upload is None:
            raise Http404
        return upload

    def _refuse_strangers(self, request: HttpRequest) -> None:
        if not may_create_jobs(request.user):
            raise PermissionDenied

    def _render(
        self, request: HttpRequest, template: str, context: dict[str, Any], *, status: int = 200
    ) -> HttpResponse:
        common = self.admin_site.each_context(request)  # type: ignore[attr-defined]
        page = {**common, "opts": self.opts, **context}  # type: ignore[attr-defined]
        return TemplateResponse(request, template, page, status=status)


def _url(name: str, upload: JobUpload) -> str:
    return reverse(f"admin:jobs_job_{name}", args=[upload.pk])


def _to(url: str) -> HttpResponse:
    return HttpResponseRedirect(url)


def _by_script(request: HttpRequest) -> bool:
    return "application/json" in request.headers.get("Accept", "")


def _tables(upload: JobUpload) -> dict[str, Any]:
    """The lists as the page shows them, each cut, with how many more there are."""
    report, counts = upload.report, upload.report["counts"]
    changed = [
        {
            "row": row,
            "name": name,
            "lines": [line for key, pair in fields.items() for line in field_lines(key, *pair)],
        }
        for row, name, fields in report["updated"]
    ]
    refused = report["refused"][: staged.SHOWN]
    return {
        "created": report["created"],
        "changed": changed,
        "refused": refused,
        "more_created": counts["created"] - len(report["created"]),
        "more_changed": counts["updated"] - len(changed),
        "more_refused": counts["failed"] - len(refused),
    }


def _examples(team: str) -> list[dict[str, str]]:
    """By the titles of the columns."""
    common = {"Status": "disabled", "Category": "general", "PIC Team": team, "End Date": "2030-12-31"}
    return [
        {
            **common,
            "Job Name": _("Example of a webhook"),
            "Cron Schedule": "0 9 * * 1-5",
            "Target URL": "https://hooks.example.com/run",
            "Request Body": '{"env": "production"}',
        },
        {
            **common,
            "Job Name": _("Example of a GitHub workflow"),
            "Cron Schedule": "30 2 * * *",
            "GitHub Owner": "acme",
            "Repo": "app",
            "Workflow Name": "nightly.yml",
            "Request Body": '{"branchDetails": "main"}',
        },
    ]
