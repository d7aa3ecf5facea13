"""Jobs, teams and categories as text in git: `export` writes YAML, `document` reads it, `apply` acts on it.

docs/as-code.md says what a file may hold.
"""

from __future__ import annotations
