import cronsched.core.models
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0002_audit'),
    ]

    operations = [
        migrations.AddField(
            model_name='user',
            name='language',
            field=cronsched.core.models.KeyField(blank=True, default='', max_length=10, verbose_name='language'),
        ),
        migrations.AddField(
            model_name='user',
            name='time_zone',
            field=models.CharField(blank=True, default='', max_length=64, verbose_name='time zone'),
        ),
    ]
