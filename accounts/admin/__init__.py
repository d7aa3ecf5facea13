"""People, failed sign-ins and the history of changes, in the admin site."""

from __future__ import annotations

from accounts.admin.audited import AuditedAdmin
from accounts.admin.history import AuditAdmin
from accounts.admin.users import FailedSignInAdmin, UserAdmin, actor

__all__ = ["AuditAdmin", "AuditedAdmin", "FailedSignInAdmin", "UserAdmin", "actor"]
