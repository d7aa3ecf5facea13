"""A list as a CSV file: the rows that the list shows with its present filters, streamed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBadRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import path
from django.utils import timezone
from django.utils.translation import gettext as _

from cronsched.core import clock

CHUNK = 500


class CsvExport:
    """Mixed in before a ModelAdmin: `<list>/export/`, with the list's own query, for who may see the list."""

    export_name = ""

    def export_lines(self, rows: QuerySet[Any]) -> Iterator[str]:
        raise NotImplementedError

    def get_urls(self) -> list[Any]:
        model = self.opts  # type: ignore[attr-defined]
        name = f"{model.app_label}_{model.model_name}_export"
        view = self.admin_site.admin_view(self.export_view)  # type: ignore[attr-defined]
        return [path("export/", view, name=name), *super().get_urls()]  # type: ignore[misc]

    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        if not self.has_view_permission(request):  # type: ignore[attr-defined]
            raise PermissionDenied
        try:
            rows = self.get_changelist_instance(request).get_queryset(request)  # type: ignore[attr-defined]
        except IncorrectLookupParameters:
            return HttpResponseBadRequest(_("The filters of this address cannot be read."))
        day = timezone.localtime(clock.now()).strftime("%Y-%m-%d")
        return csv_answer(self.export_lines(rows), f"{self.export_name}-{day}.csv")


def csv_answer(lines: Iterator[str], filename: str) -> HttpResponseBase:
    """The lines as a file to keep; with the mark by which spreadsheets know UTF-8."""
    answer = StreamingHttpResponse(_marked(lines), content_type="text/csv; charset=utf-8")
    answer.headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    return answer


def _marked(lines: Iterator[str]) -> Iterator[bytes]:
    yield b"\xef\xbb\xbf"
    for line in lines:
        yield line.encode()
