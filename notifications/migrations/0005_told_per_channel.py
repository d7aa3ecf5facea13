"""What was told is remembered for each channel; a message knows since when it waits, and for what."""

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import cronsched.core.models


class Migration(migrations.Migration):
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("jobs", "0001_initial"),
        ("notifications", "0004_outbox"),
    ]

    operations = [
        # What waits now begins its day anew.
        migrations.AddField(
            "message",
            "queued_at",
            models.DateTimeField(default=django.utils.timezone.now),
            preserve_default=False,
        ),
        migrations.AlterField(
            "emailoptout",
            "address_key",
            cronsched.core.models.KeyField(max_length=360, verbose_name="address"),
        ),
        migrations.AddField("message", "is_held", models.BooleanField(default=False)),
        migrations.AddIndex("message", models.Index(fields=["merged_into"], name="message_merged")),
        migrations.RenameField("jobalert", "failed_told_at", "failed_mail_at"),
        migrations.RenameField("jobalert", "missed_told_at", "missed_mail_at"),
        migrations.AddField("jobalert", "failed_slack_at", models.DateTimeField(null=True)),
        migrations.AddField("jobalert", "missed_slack_at", models.DateTimeField(null=True)),
        migrations.AddField("jobalert", "readers", models.JSONField(default=dict)),
        migrations.CreateModel(
            name="UntoldChange",
            fields=[
                (
                    "id",
                    models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID"),
                ),
                ("action", cronsched.core.models.KeyField(max_length=10)),
                ("since", models.DateTimeField()),
                ("attempts", models.PositiveSmallIntegerField(default=0)),
                (
                    "by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "job",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="+", to="jobs.job"
                    ),
                ),
            ],
            options={"ordering": ("since", "id")},
        ),
    ]
