"""Fill what 0005 added from the columns that it takes the place of, and let go of these."""

from django.db import migrations
from django.db.models import F


def fill(apps, schema_editor):
    alerts = apps.get_model("notifications", "JobAlert").objects
    # Slack was remembered together with failures alone; missed runs went by both channels.
    alerts.filter(slack=True).update(failed_slack_at=F("failed_mail_at"))
    alerts.update(missed_slack_at=F("missed_mail_at"))
    for alert in alerts.exclude(emails=[]):
        alert.readers = dict.fromkeys(alert.emails, "")
        alert.save(update_fields=["readers"])


def empty(apps, schema_editor):
    alerts = apps.get_model("notifications", "JobAlert").objects
    alerts.filter(failed_slack_at__isnull=False).update(slack=True)
    for alert in alerts.exclude(readers={}):
        alert.emails = list(alert.readers)
        alert.save(update_fields=["emails"])


class Migration(migrations.Migration):
    # PostgreSQL alters no table whose rows have changed in the same transaction.
    atomic = False

    dependencies = [("notifications", "0005_told_per_channel")]

    operations = [
        migrations.RunPython(fill, empty, atomic=True),
        migrations.RemoveField("jobalert", "emails"),
        migrations.RemoveField("jobalert", "slack"),
    ]
