"""What every app builds on and nothing of the product's own rules; imports no app."""

from __future__ import annotations
