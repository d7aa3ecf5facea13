"""cronsched: a team's single place for scheduled automation."""

from __future__ import annotations

__version__ = "0.1.0"
