# Counting and finding a page read no row: what is filtered and summed stands in the index.

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0003_run_tallies'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='jobexecution',
            index=models.Index(fields=['-started_at', '-id', 'status', 'trigger_type', 'execution_type', 'duration_seconds'], name='execution_newest_counted'),
        ),
        migrations.AddIndex(
            model_name='jobexecution',
            index=models.Index(fields=['job', '-started_at', '-id', 'status', 'trigger_type', 'execution_type', 'duration_seconds'], name='execution_job_counted'),
        ),
        migrations.AddIndex(
            model_name='jobexecution',
            index=models.Index(fields=['status', '-started_at', '-id'], name='execution_status_page'),
        ),
        migrations.RemoveIndex(
            model_name='jobexecution',
            name='execution_newest',
        ),
        migrations.RemoveIndex(
            model_name='jobexecution',
            name='execution_job_newest',
        ),
        migrations.RemoveIndex(
            model_name='jobexecution',
            name='execution_status_newest',
        ),
    ]
