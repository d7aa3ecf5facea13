"""What changes here, told as the other apps tell theirs. Handlers run inside the transaction.

`slack_changed`: sender=SlackSettings, settings (the row), by (a User or None), now, changes
(field -> (old, new); the webhook URL masked).
"""

from __future__ import annotations

from django.dispatch import Signal

slack_changed = Signal()
