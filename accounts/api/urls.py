"""/auth and /auth/users."""

from __future__ import annotations

from accounts.api import schema  # noqa: F401 - registers how requests are signed in
from accounts.api.views import AuthViewSet, UserViewSet
from cronsched.core.api.routers import ContractRouter

router = ContractRouter()
router.register("auth/users", UserViewSet, "users")
router.register("auth", AuthViewSet, "auth")

urlpatterns = router.urls
