"""/notifications, /settings/slack, and each user's preferences."""

from __future__ import annotations

from cronsched.core.api.routers import ContractRouter
from notifications.api.notices import NotificationViewSet
from notifications.api.preferences import urlpatterns as preferences_urls
from notifications.api.slack_settings import urlpatterns as slack_urls

router = ContractRouter()
router.register("notifications", NotificationViewSet, "notifications")

urlpatterns = [*preferences_urls, *slack_urls, *router.urls]
