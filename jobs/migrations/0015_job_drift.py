# MariaDB and MySQL copy the table for it, and keep writers waiting meanwhile: 19 s with a million jobs.
from django.conf import settings
from django.db import migrations, models

import jobs.drift


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0014_job_tallies'),
        ('taxonomy', '0003_database_defaults'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        jobs.drift.AddDriftIndex(
            model_name='job',
            index=models.Index(jobs.drift.Drift(), models.F('id'), name='job_drift'),
        ),
        migrations.AddIndex(
            model_name='job',
            index=models.Index(condition=models.Q(models.Q(('is_active', True), ('next_run_at__isnull', True)), models.Q(('is_active', False), ('next_run_at__isnull', False)), _connector='OR'), fields=['cron_expression', 'id'], name='job_odd'),
        ),
    ]
