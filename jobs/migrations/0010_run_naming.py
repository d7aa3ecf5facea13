from django.db import migrations, models

import cronsched.core.models


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0009_managed_by'),
    ]

    operations = [
        migrations.CreateModel(
            name='RunNaming',
            fields=[
                ('key', cronsched.core.models.KeyField(max_length=64, primary_key=True, serialize=False)),
                ('shows_id', models.BooleanField()),
                ('dispatched_at', models.DateTimeField()),
            ],
            options={
                'ordering': ('key',),
            },
        ),
        migrations.AddField(
            model_name='githubrun',
            name='naming_key',
            field=cronsched.core.models.KeyField(blank=True, default='', db_default='', max_length=64),
        ),
        migrations.AddField(
            model_name='githubrun',
            name='shows_id',
            field=models.BooleanField(null=True),
        ),
    ]
