"""`{{ text|said }}`: a sentence that was made in English, in the viewer's language."""

from __future__ import annotations

from django import template

from cronsched.core.said import said

register = template.Library()
register.filter("said", said)
