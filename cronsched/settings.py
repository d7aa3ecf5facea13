"""Django's settings, read from the environment; docs/operations.md lists every variable."""

from __future__ import annotations

from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.urls import reverse_lazy

from cronsched import env
from cronsched.core.logs import longest_first
from cronsched.unfold import UNFOLD as UNFOLD
from jobs.schedule import ZoneError, load_zone

BASE_DIR = Path(__file__).resolve().parent.parent
env.load_dotenv(BASE_DIR / ".env")

DEBUG = env.flag("DEBUG", False)
TESTING = env.flag("TESTING", False)
EXPOSE_ERROR_DETAILS = env.flag("EXPOSE_ERROR_DETAILS", DEBUG)


# Of templates and tutorials: known to everybody.
_KNOWN_SECRETS = {"secret", "password", "changeme", "change-me", "change_me"}


def _secret(name: str, default: str = "") -> str:
    """A secret from the environment. Only DEBUG and TESTING may go without, never a deployment."""
    value = env.text(name) or default
    is_known = value.lower() in _KNOWN_SECRETS or value.startswith(("insecure-", "django-insecure-"))
    if is_known and not (DEBUG or TESTING):
        raise ImproperlyConfigured(f"{name} is one that everybody knows: set it to 50 random characters.")
    if value:
        return value
    if DEBUG or TESTING:
        return f"insecure-{name.lower()}-for-debug-and-tests-only"
    raise ImproperlyConfigured(
        f"{name} is not set. Run ./start.sh once (it writes .env with generated secrets), or set {name}."
    )


SECRET_KEY = _secret("SECRET_KEY")
JWT_SECRET_KEY = _secret("JWT_SECRET_KEY", SECRET_KEY)
# The first key encrypts, every key decrypts: to rotate, put a new one in front.
ENCRYPTION_KEYS = env.fernet_keys("ENCRYPTION_KEYS")

ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
# Only this machine reaches it: plain http is as safe there, and the address that ./start.sh prints.
IS_LOCAL = set(ALLOWED_HOSTS) <= {"localhost", "127.0.0.1", "[::1]"}
if DEBUG and not (TESTING or IS_LOCAL):
    raise ImproperlyConfigured(
        "DEBUG=true shows settings and source to whoever reaches it, and ALLOWED_HOSTS lets others than this "
        "machine: set DEBUG=false."
    )
HTTPS_ONLY = env.flag("HTTPS_ONLY", not (DEBUG or TESTING or IS_LOCAL))
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS")
CORS_ORIGINS = env.words("CORS_ORIGINS", "http://localhost:5173")
CORS_ALLOW_ALL_ORIGINS = "*" in CORS_ORIGINS
CORS_ALLOWED_ORIGINS = [origin for origin in CORS_ORIGINS if origin != "*"]
# The admin site answers to its own origin only.
CORS_URLS_REGEX = r"^/api/.*$"
# X-Forwarded-For is believed only from these; login throttling counts by address.
TRUSTED_PROXIES = env.networks("TRUSTED_PROXIES")

INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "cronsched.admin_config.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "rest_framework_simplejwt.token_blacklist",
    "corsheaders",
    "django_filters",
    "django_apscheduler",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "cronsched",
    "accounts",
    "taxonomy",
    "jobs",
    "notifications",
]

MIDDLEWARE = [
    "cronsched.core.api.middleware.JsonErrorsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "cronsched.core.admin_csp.AdminPolicyMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.viewing.ViewingMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "cronsched.urls"
WSGI_APPLICATION = "cronsched.wsgi.application"
# Paths of the API have no trailing slash; both spellings are routed, so nothing redirects.
APPEND_SLASH = True

TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASE_URL = env.text("DATABASE_URL", "sqlite:///instance/cron_jobs.db")
DATABASES = {"default": env.database(DATABASE_URL, BASE_DIR)}
if TESTING:
    # TESTING never touches real data: the same server, another database.
    _name = Path(str(DATABASES["default"]["NAME"]))
    DATABASES["default"]["NAME"] = str(_name.with_name(f"testing_{_name.name}"))
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# ---- accounts -------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["accounts.backends.IdentifierBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
    # Hashes of the earlier system verify, and are upgraded to the first hasher at login.
    "accounts.hashers.PasslibPBKDF2SHA256Hasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 6}},
]
JWT_ACCESS_TOKEN_EXPIRES = env.integer("JWT_ACCESS_TOKEN_EXPIRES", 3600, low=1, high=10**9)
JWT_REFRESH_TOKEN_EXPIRES = env.integer("JWT_REFRESH_TOKEN_EXPIRES", 2_592_000, low=1, high=10**9)
SIMPLE_JWT = {
    "ALGORITHM": "HS256",
    "SIGNING_KEY": JWT_SECRET_KEY,
    "ACCESS_TOKEN_LIFETIME": timedelta(seconds=JWT_ACCESS_TOKEN_EXPIRES),
    "REFRESH_TOKEN_LIFETIME": timedelta(seconds=JWT_REFRESH_TOKEN_EXPIRES),
    "USER_ID_CLAIM": "sub",
    "TOKEN_TYPE_CLAIM": "type",
    "AUTH_HEADER_TYPES": ("Bearer",),
}
LOGIN_URL = reverse_lazy("admin:login")
LOGIN_REDIRECT_URL = reverse_lazy("admin:index")

ALLOW_DEFAULT_ADMIN = env.flag("ALLOW_DEFAULT_ADMIN", False)
DEFAULT_ADMIN_USERNAME = env.text("DEFAULT_ADMIN_USERNAME", "admin")
DEFAULT_ADMIN_EMAIL = env.text("DEFAULT_ADMIN_EMAIL", "admin@example.com")
DEFAULT_ADMIN_PASSWORD = env.text("DEFAULT_ADMIN_PASSWORD")

# ---- the API --------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.tokens.BearerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["cronsched.core.api.renderers.FastJSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["cronsched.core.api.parsers.JsonObjectParser"],
    "EXCEPTION_HANDLER": "cronsched.core.api.exceptions.handle_exception",
    "DEFAULT_SCHEMA_CLASS": "cronsched.core.api.schema.ContractSchema",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
    "COERCE_DECIMAL_TO_STRING": False,
    # `?format=` is not ours to take from queries.
    "URL_FORMAT_OVERRIDE": None,
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "cronsched",
    "DESCRIPTION": "Scheduled webhooks and GitHub Actions workflows: jobs, their runs, and who is told.",
    "VERSION": "2",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SCHEMA_PATH_PREFIX": r"/api/v2",
    "COMPONENT_SPLIT_REQUEST": True,
    "PREPROCESSING_HOOKS": ["cronsched.core.api.schema.without_trailing_slash"],
    "POSTPROCESSING_HOOKS": ["cronsched.examples.with_examples"],
}
UPLOAD_MAX_BYTES = env.integer("UPLOAD_MAX_BYTES", 10_485_760, low=1, high=10**10)
DATA_UPLOAD_MAX_MEMORY_SIZE = 2_621_440

# ---- the scheduler --------------------------------------------------------------------------

SCHEDULER_ENABLED = env.flag("SCHEDULER_ENABLED", True)
SCHEDULER_TIMEZONE = env.text("SCHEDULER_TIMEZONE", "Asia/Tokyo") or "Asia/Tokyo"
SCHEDULER_POLL_SECONDS = env.integer("SCHEDULER_POLL_SECONDS", 60, low=10, high=300, clamp=True)
SCHEDULER_LOCK_STALE_SECONDS = env.number("SCHEDULER_LOCK_STALE_SECONDS", 15, low=3, high=3600)
SCHEDULER_MISFIRE_GRACE_SECONDS = env.number("SCHEDULER_MISFIRE_GRACE_SECONDS", 30, low=1, high=86_400)
SCHEDULER_MAX_INSTANCES = env.integer("SCHEDULER_MAX_INSTANCES", 3, low=1, high=1000)
SCHEDULER_TICK_SECONDS = 1.0
try:
    load_zone(SCHEDULER_TIMEZONE)
except ZoneError as error:
    raise ImproperlyConfigured(f"SCHEDULER_TIMEZONE: {error}") from None
if SCHEDULER_LOCK_STALE_SECONDS + SCHEDULER_TICK_SECONDS >= SCHEDULER_MISFIRE_GRACE_SECONDS:
    raise ImproperlyConfigured(
        f"SCHEDULER_LOCK_STALE_SECONDS={SCHEDULER_LOCK_STALE_SECONDS:g} plus one tick reaches "
        f"SCHEDULER_MISFIRE_GRACE_SECONDS={SCHEDULER_MISFIRE_GRACE_SECONDS:g}: a standby would take over too "
        "late to send what came due. Lower the first or raise the second."
    )
APSCHEDULER_DATETIME_FORMAT = "Y-m-d H:i:s"
# The schedulers are ours to run (manage.py runscheduler); the admin site must not run jobs.
APSCHEDULER_RUN_NOW_TIMEOUT = 0
SEND_BACKEND = env.text("SEND_BACKEND", "local") or "local"
if SEND_BACKEND not in {"local", "celery"}:
    raise ImproperlyConfigured(f"SEND_BACKEND={SEND_BACKEND!r} is not known: use local or celery.")
if SEND_BACKEND == "celery" and find_spec("celery") is None:
    raise ImproperlyConfigured(
        "SEND_BACKEND=celery needs Celery: .venv/bin/python -m pip install -r requirements-celery.txt"
    )
# Where the leader puts what is to be sent, and the senders (manage.py runsender) take it from.
CELERY_BROKER_URL = env.text("CELERY_BROKER_URL", "redis://127.0.0.1:6379/0")
SEND_QUEUE = env.text("SEND_QUEUE", "cronsched")

# ---- what a run sends -----------------------------------------------------------------------

WEBHOOK_ALLOW_HTTP = env.flag("WEBHOOK_ALLOW_HTTP", False)
WEBHOOK_ALLOW_PRIVATE_NETWORKS = env.flag("WEBHOOK_ALLOW_PRIVATE_NETWORKS", False)
WEBHOOK_TIMEOUT_SECONDS = env.number("WEBHOOK_TIMEOUT_SECONDS", 30, low=0.1, high=3600)
WEBHOOK_SIGNING_SECRET = env.text("WEBHOOK_SIGNING_SECRET")
WEBHOOK_ALLOWED_NETWORKS = env.networks("WEBHOOK_ALLOWED_NETWORKS")
GITHUB_TOKEN = env.text("GITHUB_TOKEN")
GITHUB_API_URL = (env.text("GITHUB_API_URL") or "https://api.github.com").rstrip("/")
# Signs the events that GitHub sends to /api/v2/github/webhook; without it nothing is taken.
GITHUB_WEBHOOK_SECRET = env.text("GITHUB_WEBHOOK_SECRET")
GITHUB_DEFAULT_OWNER = env.text("GITHUB_DEFAULT_OWNER")
GITHUB_DEFAULT_REF = env.text("GITHUB_DEFAULT_REF") or "main"

# ---- history, mail, links -------------------------------------------------------------------

EXECUTION_RETENTION_DAYS = env.integer("EXECUTION_RETENTION_DAYS", 365, low=1, high=36_500)
NOTIFICATION_RETENTION_DAYS = env.integer("NOTIFICATION_RETENTION_DAYS", 90, low=1, high=36_500)
FRONTEND_BASE_URL = env.text("FRONTEND_BASE_URL", "http://localhost:5173").rstrip("/")
# Where this server is reached from outside: for links to the admin site, and for unsubscribing.
PUBLIC_BASE_URL = (env.text("PUBLIC_BASE_URL") or f"http://localhost:{env.text('PORT') or 5001}").rstrip("/")
MAIL_ENABLED = env.flag("MAIL_ENABLED", False)
EMAIL_HOST = env.text("SMTP_HOST") or env.text("MAIL_SERVER")
EMAIL_PORT = env.integer("SMTP_PORT", env.integer("MAIL_PORT", 587, low=1, high=65_535), low=1, high=65_535)
EMAIL_HOST_USER = env.text("SMTP_USERNAME") or env.text("MAIL_USERNAME")
EMAIL_HOST_PASSWORD = env.text("SMTP_PASSWORD") or env.text("MAIL_PASSWORD")
# Port 465 speaks TLS from the first byte; elsewhere STARTTLS.
EMAIL_USE_SSL = EMAIL_PORT == 465
EMAIL_USE_TLS = not EMAIL_USE_SSL and env.flag("SMTP_USE_TLS", env.flag("MAIL_USE_TLS", True))
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.text("MAIL_DEFAULT_SENDER") or EMAIL_HOST_USER or "cronsched@localhost"
if MAIL_ENABLED and not EMAIL_HOST:
    raise ImproperlyConfigured(
        "MAIL_ENABLED=true needs MAIL_SERVER (or SMTP_HOST): the name of a mail server."
    )

# ---- the rest -------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
# What people may choose for the admin site (accounts.viewing); the API, mail and Slack speak English.
LANGUAGES = [("en", "English"), ("ja", "日本語")]
LOCALE_PATHS = [BASE_DIR / "cronsched" / "locale"]
TIME_ZONE = SCHEDULER_TIMEZONE
USE_TZ = True
USE_I18N = True
FORMAT_MODULE_PATH = "cronsched.formats"
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
if DEBUG or TESTING:
    STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"
    WHITENOISE_USE_FINDERS = True
    # Look for a file when it is asked for, not for all of them at every start.
    WHITENOISE_AUTOREFRESH = True
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS_ONLY
# The API and /metrics never redirect: a client that sent its token in the clear would not notice.
SECURE_REDIRECT_EXEMPT = [r"^api/", r"^metrics$"]
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS_ONLY else 0
SILENCED_SYSTEM_CHECKS: list[str] = [
    # A username is unique by its key (accounts.models), which is what the sign-in looks for.
    "auth.W004",
    # MariaDB has no index on an expression, nor a partial one; a column is in their place (jobs.drift).
    "models.W037",
    "models.W043",
    # What the other names of a domain do is not ours to say.
    "security.W005",
    "security.W021",
]
if IS_LOCAL:
    # About https, which nobody else could use.
    SILENCED_SYSTEM_CHECKS += ["security.W004", "security.W008", "security.W012", "security.W016"]

# Prometheus: the token that /metrics asks for (without one only this machine is answered), and where
# the scheduler serves its own figures (0: nowhere).
METRICS_TOKEN = env.text("METRICS_TOKEN")
METRICS_PORT = env.integer("METRICS_PORT", 0, low=0, high=65535)
METRICS_HOST = env.text("METRICS_HOST", "127.0.0.1")

DEFAULT_EXCEPTION_REPORTER_FILTER = "cronsched.core.error_reports.ReportFilter"
LOG_LEVEL = (env.text("LOG_LEVEL") or "INFO").upper()
if LOG_LEVEL not in {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}:
    raise ImproperlyConfigured(f"LOG_LEVEL={LOG_LEVEL!r}: use DEBUG, INFO, WARNING, ERROR or CRITICAL.")
LOG_FILE = env.log_file("LOG_FILE")
LOG_FORMAT = env.text("LOG_FORMAT") or "text"
if LOG_FORMAT not in {"text", "json"}:
    raise ImproperlyConfigured(f"LOG_FORMAT={LOG_FORMAT!r}: use text or json.")


def _known_secrets() -> list[str]:
    """What must not be in a log or an answer, whatever an exception quotes."""
    names = (
        "GITHUB_TOKEN",
        "GITHUB_WEBHOOK_SECRET",
        "METRICS_TOKEN",
        "CELERY_BROKER_URL",
        "WEBHOOK_SIGNING_SECRET",
        "MAIL_PASSWORD",
        "SMTP_PASSWORD",
        "DEFAULT_ADMIN_PASSWORD",
    )
    database = str(DATABASES["default"].get("PASSWORD") or "")
    own = (SECRET_KEY, JWT_SECRET_KEY, *ENCRYPTION_KEYS, database)
    return longest_first((*own, *(env.text(name) for name in names)))


KNOWN_SECRETS = _known_secrets()

_FORMATTER = "json" if LOG_FORMAT == "json" else "line"
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "cronsched.core.logs.LineFormatter",
            "format": "{asctime} {levelname} {name} {message}",
            "style": "{",
            "datefmt": "%Y-%m-%dT%H:%M:%S%z",
            "secrets": KNOWN_SECRETS,
        },
        "json": {"()": "cronsched.core.logs.JsonFormatter", "secrets": KNOWN_SECRETS},
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": _FORMATTER}},
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        # A line for each second that the database is away says nothing: the engine's own tell it once.
        "apscheduler": {"level": "ERROR"},
        "django_apscheduler": {"level": "ERROR"},
        "django.request": {"level": "ERROR"},
        # Scanners send any host name; the answer is a 400, a traceback each would bury the rest.
        "django.security.DisallowedHost": {"level": "CRITICAL"},
    },
}
if LOG_FILE:
    LOGGING["handlers"]["file"] = {
        "class": "logging.handlers.WatchedFileHandler",
        "filename": LOG_FILE,
        "formatter": _FORMATTER,
        "encoding": "utf-8",
        "delay": True,
    }
    LOGGING["root"]["handlers"].append("file")
