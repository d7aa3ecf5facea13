"""The look of the admin site: names, colours, and the navigation of each role.

Read by settings, so it imports nothing of the apps: rights and addresses are named, and looked up
when a page is shown.
"""

from __future__ import annotations

from typing import Any

from django.templatetags.static import static
from django.urls import reverse_lazy
from django.utils.functional import lazy
from django.utils.translation import gettext_lazy as _

_static = lazy(static, str)
_ADMINS_ONLY = "cronsched.admin_site.may_manage"


def _page(title: Any, icon: str, model: str, permission: str | None = None) -> dict[str, Any]:
    item = {"title": title, "icon": icon, "link": reverse_lazy(f"admin:{model}_changelist")}
    return item | ({"permission": permission} if permission else {})


def _group(title: Any, *items: dict[str, Any]) -> dict[str, Any]:
    return {"title": title, "separator": True, "items": list(items)}


NAVIGATION = [
    {"items": [{"title": _("Home"), "icon": "home", "link": reverse_lazy("admin:index")}]},
    _group(
        _("Automation"),
        _page(_("Jobs"), "schedule", "jobs_job"),
        _page(_("Executions"), "history", "jobs_jobexecution"),
    ),
    _group(
        _("Taxonomy"),
        _page(_("Categories"), "category", "taxonomy_jobcategory"),
        _page(_("Teams"), "groups", "taxonomy_picteam"),
    ),
    _group(
        _("Notifications"),
        _page(_("My notifications"), "notifications", "notifications_notification"),
        _page(_("My preferences"), "tune", "notifications_notificationpreferences"),
        _page(_("Messages sent"), "outgoing_mail", "notifications_message", _ADMINS_ONLY),
        _page(_("Unsubscribed"), "unsubscribe", "notifications_emailoptout", _ADMINS_ONLY),
        _page(_("Slack settings"), "forum", "notifications_slacksettings", _ADMINS_ONLY),
    ),
    _group(
        _("Programs"),
        _page(_("API keys"), "key", "accounts_apikey"),
    ),
    _group(
        _("Administration"),
        _page(_("Users"), "person", "accounts_user", _ADMINS_ONLY),
        _page(_("History of changes"), "manage_history", "accounts_auditentry", _ADMINS_ONLY),
        _page(_("GitHub tokens"), "key", "jobs_githubtoken", _ADMINS_ONLY),
        _page(_("Scheduler"), "monitor_heart", "jobs_schedulerlease", _ADMINS_ONLY),
        _page(_("Chores"), "cleaning_services", "jobs_chorestate", _ADMINS_ONLY),
        _page(_("Chore timetable"), "calendar_clock", "django_apscheduler_djangojob", _ADMINS_ONLY),
        _page(_("Chore runs"), "list_alt", "django_apscheduler_djangojobexecution", _ADMINS_ONLY),
        _page(_("Failed sign-ins"), "lock", "accounts_loginfailure", _ADMINS_ONLY),
    ),
]

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "cronsched",
    "SITE_HEADER": "cronsched",
    "SITE_SUBHEADER": _("Scheduled automation"),
    "SITE_SYMBOL": "schedule",
    "SITE_URL": None,
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": _static("cronsched/favicon.svg")},
    ],
    "STYLES": [_static("cronsched/admin.css"), _static("cronsched/desk.css")],
    "SCRIPTS": [_static("cronsched/admin.js"), _static("cronsched/desk.js")],
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_BACK_BUTTON": True,
    "ACCOUNT": {"navigation": "cronsched.admin_site.account_links"},
    "SIDEBAR": {"navigation": NAVIGATION},
    "COLORS": {
        # Teal instead of unfold's purple: links and buttons that keep 4.5:1 on white and on slate.
        "primary": {
            "50": "#f0fdfa",
            "100": "#ccfbf1",
            "200": "#99f6e4",
            "300": "#5eead4",
            "400": "#2dd4bf",
            "500": "#14b8a6",
            "600": "#0f766e",
            "700": "#115e59",
            "800": "#134e4a",
            "900": "#0f3d3a",
            "950": "#042f2e",
        },
    },
}
