# The previous version's inserts do not name columns that came after it.
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0010_run_naming'),
    ]

    operations = [
        migrations.AlterField(
            model_name='job',
            name='follow_run',
            field=models.BooleanField(db_default=True, default=True, verbose_name='follow the run'),
        ),
        migrations.AlterField(
            model_name='job',
            name='github_correlation_input',
            field=models.CharField(blank=True, db_default='', default='', max_length=255, verbose_name='input for our id'),
        ),
        migrations.AlterField(
            model_name='job',
            name='previous_signing_secret',
            field=models.TextField(blank=True, db_default='', default='', editable=False),
        ),
    ]
