from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0015_job_drift'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='job',
            index=models.Index(fields=['next_run_at', 'id'], name='job_next_run'),
        ),
        # Without an index of its own: that one serves.
        migrations.AlterField(
            model_name='job',
            name='next_run_at',
            field=models.DateTimeField(editable=False, null=True, verbose_name='next run'),
        ),
    ]
