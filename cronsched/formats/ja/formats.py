"""As in English: one order of year, month and day, which Japan writes anyway."""

from __future__ import annotations

from cronsched.formats.en.formats import *  # noqa: F403
