# The previous version's inserts do not name columns that came after it.
import cronsched.core.models
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0004_api_keys'),
    ]

    operations = [
        migrations.AlterField(
            model_name='user',
            name='language',
            field=cronsched.core.models.KeyField(blank=True, db_default='', default='', max_length=10, verbose_name='language'),
        ),
        migrations.AlterField(
            model_name='user',
            name='time_zone',
            field=models.CharField(blank=True, db_default='', default='', max_length=64, verbose_name='time zone'),
        ),
    ]
