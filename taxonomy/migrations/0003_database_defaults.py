# The previous version's inserts do not name columns that came after it.
import cronsched.core.models
from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('taxonomy', '0002_team_send_queue'),
    ]

    operations = [
        migrations.AlterField(
            model_name='picteam',
            name='send_queue',
            field=cronsched.core.models.KeyField(blank=True, db_default='', default='', help_text="its runs are sent by workers of this queue: those inside the team's network, say", max_length=100, verbose_name='send queue'),
        ),
    ]
