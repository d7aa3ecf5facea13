"""Moving in from the earlier system: its database is read, never written; docs/cutover.md is the way through.

`source` reads rows, `values` what stands in them, `people`, `taxa`, `work`, `history` and `settings`
bring each table over, `cron` compares when both systems would fire, `report` says what came of it.
"""

from __future__ import annotations
