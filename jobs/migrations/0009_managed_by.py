from django.db import migrations

import cronsched.core.models


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0008_offered_at'),
    ]

    operations = [
        migrations.AddField(
            model_name='job',
            name='managed_by',
            field=cronsched.core.models.KeyField(blank=True, db_index=True, default='', db_default='', editable=False, max_length=100),
        ),
    ]
