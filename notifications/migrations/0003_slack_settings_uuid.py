"""Slack's settings get an id like every other row's: a new table, the one row copied, the old one gone."""

import uuid

from django.db import migrations, models

COLUMNS = ("only", "is_enabled", "webhook_url", "channel", "created_at", "updated_at")


def copy_row(apps, schema_editor):
    old, new = (apps.get_model("notifications", name) for name in ("SlackSettings", "NewSlackSettings"))
    for values in old.objects.values(*COLUMNS):
        row = new.objects.create(**values)
        # Both times are set by Django on insert.
        new.objects.filter(pk=row.pk).update(
            created_at=values["created_at"], updated_at=values["updated_at"]
        )


class Migration(migrations.Migration):

    dependencies = [("notifications", "0002_notification_unread_key")]

    operations = [
        migrations.CreateModel(
            name="NewSlackSettings",
            fields=[
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("only", models.PositiveSmallIntegerField(default=1, editable=False, unique=True)),
                ("is_enabled", models.BooleanField(default=False, verbose_name="enabled")),
                ("webhook_url", models.TextField(blank=True, default="", verbose_name="webhook URL")),
                ("channel", models.CharField(blank=True, default="", max_length=255, verbose_name="channel")),
            ],
            options={"verbose_name": "Slack settings", "verbose_name_plural": "Slack settings"},
        ),
        migrations.RunPython(copy_row, migrations.RunPython.noop),
        migrations.DeleteModel(name="SlackSettings"),
        migrations.RenameModel(old_name="NewSlackSettings", new_name="SlackSettings"),
    ]
