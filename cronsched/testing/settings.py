"""Settings for the tests and the type checker: the product's own, with fast hashes and no .env."""

from __future__ import annotations

import os

os.environ.setdefault("TESTING", "true")
# A developer's .env must not change what the tests see.
os.environ.setdefault("SECRET_KEY", "tests-only-secret-key-of-more-than-32-bytes")
os.environ.setdefault("JWT_SECRET_KEY", "tests-only-jwt-secret-key-of-more-than-32-bytes")
os.environ.setdefault("ENCRYPTION_KEYS", "dGVzdHMtb25seS1rZXktb2YtMzItYnl0ZXMtLi4uLi4=")
_DATABASE_URL = os.environ.get("TEST_DATABASE_URL", "sqlite:///instance/tests.db")
os.environ["DATABASE_URL"] = _DATABASE_URL
for _name in ("WEBHOOK_ALLOW_HTTP", "WEBHOOK_ALLOW_PRIVATE_NETWORKS", "MAIL_ENABLED"):
    os.environ[_name] = "false"
for _name in ("GITHUB_TOKEN", "GITHUB_DEFAULT_OWNER", "WEBHOOK_SIGNING_SECRET", "SCHEDULER_TIMEZONE"):
    os.environ[_name] = ""

from cronsched.settings import *  # noqa: E402, F403
from cronsched.settings import DATABASES, REST_FRAMEWORK  # noqa: E402, F401

PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.MD5PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
    "accounts.hashers.PasslibPBKDF2SHA256Hasher",
]
# A file, not memory: the engine's threads and real transactions need a database they can share.
_name = str(DATABASES["default"]["NAME"])
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["TEST"] = {"NAME": _name.replace("testing_", "test_")}
elif DATABASES["default"]["ENGINE"].endswith("mysql"):
    DATABASES["default"]["TEST"] = {"CHARSET": "utf8mb4"}
# Files come from the finders: a fresh clone has collected none.
STATIC_ROOT = None  # type: ignore[assignment]
