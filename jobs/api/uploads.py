"""POST /jobs/bulk-upload: many jobs from one CSV file."""

from __future__ import annotations

from typing import Any, BinaryIO

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.roles import may_create_jobs
from cronsched.core.api.params import Params, read_bool
from cronsched.core.api.parsers import UploadParser
from cronsched.core.api.schema import envelope, refusal, said
from cronsched.core.api.viewsets import ContractViewSet, Keys, Right
from cronsched.core.errors import InvalidInput
from jobs.api.serializers import (
    BulkUploadSerializer,
    RowErrorSerializer,
    UploadedJobSerializer,
    UploadStatsSerializer,
)
from jobs.api.shapes import job_answer
from jobs.services.bulk_upload.engine import Upload, check_default_owner, upload_jobs
from jobs.services.bulk_upload.report import Report, report_of
from jobs.services.bulk_upload.sheet import Sheet

_NO_FILE = 'Send the CSV file in the form field "file" (multipart/form-data).'
_COUNT = serializers.IntegerField()


class BulkUploadViewSet(ContractViewSet):
    schema_tag = "jobs"
    serializer_class = BulkUploadSerializer
    parser_classes = (UploadParser,)
    keys = Keys.ALL
    rights = {"bulk_upload": Right(role=may_create_jobs)}

    @extend_schema(
        request={"multipart/form-data": BulkUploadSerializer},
        responses={
            200: envelope(
                "BulkUpload",
                message=said("Bulk upload completed: 3 created, 1 updated, 1 failed"),
                dry_run=serializers.BooleanField(),
                created=_COUNT,
                updated=serializers.IntegerField(help_text="Rows of jobs that were there."),
                failed=_COUNT,
                created_count=_COUNT,
                updated_count=_COUNT,
                error_count=_COUNT,
                errors=RowErrorSerializer(many=True),
                jobs=UploadedJobSerializer(many=True, help_text="Created and updated ones, at most 1,000."),
                stats=UploadStatsSerializer(),
            ),
            **refusal(
                400,
                "Invalid file",
                'Row 7 is not UTF-8. Save it as "CSV UTF-8" and upload that.',
                field="file",
            ),
            **refusal(413, "Payload too large", "The file is larger than 10485760 bytes: split it."),
        },
    )
    @action(detail=False, methods=["post"], url_path="bulk-upload")
    def bulk_upload(self, request: Request) -> Response:
        """Creates or updates a job for each row, by name. 200 also where rows failed; `errors` has them."""
        form = self.body
        upload = Upload(
            by=self.user,
            owner_id=self.user.pk,
            now=self.now,
            dry_run=_dry_run(form),
            default_github_owner=check_default_owner(form.get("default_github_owner", "")),
        )
        sheet = Sheet(self._file())
        report = report_of(upload_jobs(sheet.entries(), upload))
        return self.answer(**_answer(report, sheet, is_dry_run=upload.dry_run))

    def _file(self) -> BinaryIO:
        found = self.request.FILES.get("file")
        if found is None:
            raise InvalidInput(
                _NO_FILE,
                error="No file",
                field="file",
            )
        file: BinaryIO = found.file
        return file


def _dry_run(form: Params) -> bool:
    """Forms send every field that they have: a blank one is none."""
    return bool(form.get("dry_run", "").strip()) and bool(read_bool(form, "dry_run"))


def _answer(report: Report, sheet: Sheet, *, is_dry_run: bool) -> dict[str, Any]:
    jobs = [job_answer(job) for job in report.jobs]
    done = "Dry run completed, nothing was stored" if is_dry_run else "Bulk upload completed"
    return {
        "message": f"{done}: {report.summary}",
        "dry_run": is_dry_run,
        "created": report.created,
        "updated": report.updated,
        "failed": report.failed,
        "created_count": report.created,
        "updated_count": report.updated,
        "error_count": report.failed,
        "errors": [
            {"row": outcome.row, "name": outcome.name, "error": outcome.error} for outcome in report.errors
        ],
        "jobs": [{**job, "id": None} for job in jobs] if is_dry_run else jobs,
        "stats": {
            "original_row_count": sheet.row_count,
            "removed_empty_row_count": sheet.empty_count,
            "unchanged_count": report.unchanged,
            "unknown_columns": sheet.unknown_columns,
        },
    }
