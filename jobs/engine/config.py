"""What the engine is told once, at start: limits, targets and secrets from the settings."""

from __future__ import annotations

from dataclasses import dataclass, field

from django.conf import settings


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineConfig:
    """Durations are in seconds."""

    grace_s: float
    max_instances: int
    timeout_s: float
    signing_secret: str = field(default="", repr=False)
    github_api_url: str = "https://api.github.com"
    github_owner: str = ""
    github_ref: str = "main"
    github_token: str = field(default="", repr=False)


def from_settings() -> EngineConfig:
    return EngineConfig(
        grace_s=settings.SCHEDULER_MISFIRE_GRACE_SECONDS,
        max_instances=settings.SCHEDULER_MAX_INSTANCES,
        timeout_s=settings.WEBHOOK_TIMEOUT_SECONDS,
        signing_secret=settings.WEBHOOK_SIGNING_SECRET,
        github_api_url=settings.GITHUB_API_URL,
        github_owner=settings.GITHUB_DEFAULT_OWNER,
        github_ref=settings.GITHUB_DEFAULT_REF,
        github_token=settings.GITHUB_TOKEN,
    )
