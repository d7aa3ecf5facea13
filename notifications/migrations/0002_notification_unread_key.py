"""One unread notice of a kind, kept by a plain unique key; and unread ones in the order of lists."""

from django.conf import settings
from django.db import migrations, models

import cronsched.core.models


class Migration(migrations.Migration):

    dependencies = [
        ("notifications", "0001_initial"),
        ("jobs", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="notification",
            name="unread_key",
            field=cronsched.core.models.KeyField(editable=False, max_length=120, null=True, unique=True),
        ),
        migrations.AddIndex(
            model_name="notification",
            index=models.Index(fields=["user", "is_read", "-created_at", "-id"], name="notification_by_state"),
        ),
        migrations.RemoveIndex(model_name="notification", name="notification_unread"),
        migrations.AddConstraint(
            model_name="notification",
            constraint=models.CheckConstraint(
                condition=models.Q(("is_read", False), ("unread_key__isnull", True), _connector="OR"),
                name="notification_read_has_no_key",
            ),
        ),
    ]
