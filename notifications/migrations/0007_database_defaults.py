# The previous version's inserts do not name columns that came after it.
import cronsched.core.db
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('notifications', '0006_told_per_channel_data'),
    ]

    operations = [
        migrations.AlterField(
            model_name='jobalert',
            name='readers',
            field=models.JSONField(db_default={}, default=dict),
        ),
        migrations.AlterField(
            model_name='message',
            name='is_held',
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AlterField(
            model_name='message',
            name='queued_at',
            field=models.DateTimeField(db_default=cronsched.core.db.DatabaseNow()),
        ),
    ]
