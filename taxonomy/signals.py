"""How taxonomy tells the world. Handlers insert rows and nothing else; they run inside the transaction.

`taxon_changed`: sender=JobCategory or PicTeam, action ("created", "updated", "disabled"), taxon,
by (a User or None), now, changes (field -> (old, new)).
"""

from __future__ import annotations

from django.dispatch import Signal

taxon_changed = Signal()
