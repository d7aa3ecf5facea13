"""/job-categories and /pic-teams."""

from __future__ import annotations

from cronsched.core.api.routers import ContractRouter
from taxonomy.api.views import CategoryViewSet, TeamViewSet

router = ContractRouter()
router.register("job-categories", CategoryViewSet, "categories")
router.register("pic-teams", TeamViewSet, "teams")

urlpatterns = router.urls
