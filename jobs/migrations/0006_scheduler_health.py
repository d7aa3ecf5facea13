from __future__ import annotations

from django.db import migrations, models

import cronsched.core.models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0005_follow_github_runs")]

    operations = [
        migrations.AddField(
            model_name="schedulerlease",
            name="tick_lag_ms",
            field=models.PositiveIntegerField(null=True, verbose_name="lag of the last tick"),
        ),
        migrations.AddField(
            model_name="schedulerlease",
            name="tick_lag_worst_ms",
            field=models.PositiveIntegerField(null=True, verbose_name="worst lag of the last minute"),
        ),
        migrations.CreateModel(
            name="SchedulerStandby",
            fields=[
                (
                    "holder",
                    cronsched.core.models.KeyField(
                        max_length=255, primary_key=True, serialize=False, verbose_name="process"
                    ),
                ),
                ("seen_at", models.DateTimeField(verbose_name="last seen")),
            ],
            options={
                "verbose_name": "standby",
                "verbose_name_plural": "standbys",
                "ordering": ("holder",),
            },
        ),
    ]
