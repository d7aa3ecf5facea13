"""How accounts tells the world. Handlers insert rows and nothing else; they run inside the transaction.

`user_changed`: sender=User, action ("created", "updated", "deleted"), user (for "deleted" its last
state), by (a User or None), now, changes (field -> (old, new); a password shows as "***").
"""

from __future__ import annotations

from django.dispatch import Signal

user_changed = Signal()
