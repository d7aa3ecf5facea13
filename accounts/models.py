"""People: who they are, what they may do, how they like their tables."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar, NoReturn, Self
from uuid import UUID

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.hashers import make_password
from django.db import models
from django.utils.translation import gettext_lazy as _

from accounts import hashers
from accounts.choices import AuditAction, AuditKind, Via
from accounts.roles import Role, is_admin
from cronsched.core.models import KeyField, Timestamped, uuid7
from cronsched.core.text import clean_name, name_key


class UserQuerySet(models.QuerySet["User"]):
    def active(self) -> UserQuerySet:
        return self.filter(is_active=True)

    def admins(self) -> UserQuerySet:
        return self.filter(is_active=True, role=Role.ADMIN)

    def identified_by(self, identifier: str) -> UserQuerySet:
        """Whoever signs in as `identifier`: a username or an e-mail address, without case."""
        key = name_key(identifier)
        return self.filter(models.Q(username_key=key) | models.Q(email_key=key))

    def visible_to(self, user: Any) -> UserQuerySet:
        """Whom `user` may look for; what of a row they may read is accounts.roles.may_view_user's."""
        return self if getattr(user, "is_active", False) else self.none()


class UserManager(BaseUserManager["User"]):
    def get_queryset(self) -> UserQuerySet:
        return UserQuerySet(self.model, using=self._db)

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(username_key=name_key(username or ""))

    def create_superuser(self, username: str, email: str, password: str | None = None, **extra: Any) -> User:
        """What `createsuperuser` calls; `manage.py create_admin` is the product's own way."""
        user: User = self.model(username=username, email=email, role=Role.ADMIN, **extra)
        user.set_password(password)
        user.save(using=self._db)
        return user


class User(AbstractBaseUser, Timestamped):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    username = models.CharField(_("username"), max_length=80)
    # Sameness is the key's, never the database's collation: see cronsched.core.text.
    username_key = KeyField(max_length=240, unique=True, editable=False)
    email = models.CharField(_("e-mail"), max_length=120)
    email_key = KeyField(max_length=360, unique=True, editable=False)
    role = KeyField(_("role"), max_length=10, choices=Role.choices, default=Role.VIEWER)
    is_active = models.BooleanField(_("active"), default=True)
    # Empty: the browser's language, and the scheduler's zone. accounts.viewing says what may be chosen.
    language = KeyField(_("language"), max_length=10, blank=True, default="", db_default="")
    time_zone = models.CharField(_("time zone"), max_length=64, blank=True, default="", db_default="")
    # Grows when every earlier token must end (password change, deactivation); new tokens carry it.
    token_version = models.PositiveIntegerField(default=1, editable=False)
    # The earlier system's tokens carry no version: those issued before this time are refused.
    tokens_valid_after = models.DateTimeField(null=True, blank=True, editable=False)

    objects = UserManager.from_queryset(UserQuerySet)()

    # Of whom an API key stands for (accounts.api_keys), never stored: the key's prefix, and the team that
    # it is limited to ("": none). None for a person.
    key_prefix: str | None = None
    key_team: str | None = None

    USERNAME_FIELD = "username"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = ["email"]

    class Meta:
        verbose_name = _("user")
        verbose_name_plural = _("users")
        ordering = ("username_key",)
        constraints = (
            models.CheckConstraint(name="user_role_known", condition=models.Q(role__in=Role.values)),
        )

    def __str__(self) -> str:
        return self.username

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.key_prefix is not None:
            raise TypeError("This user has the rights of an API key, not its own: load it anew to change it.")
        # Kept here, beside the columns they mirror, so that no writer can forget them.
        self.username = clean_name(self.username)
        self.username_key = name_key(self.username)
        self.email = clean_name(self.email)
        self.email_key = name_key(self.email)
        super().save(*args, **kwargs)

    def check_password(self, raw_password: str | None) -> bool:
        """Whether it is their password; an outdated hash is replaced by one of today at that moment."""
        if raw_password is None:
            return False
        is_right, is_outdated = hashers.verify(raw_password, self.password)
        if is_right and is_outdated:
            self._replace_hash(make_password(raw_password))
        return is_right

    def _replace_hash(self, encoded: str) -> None:
        """Only in place of the hash that was verified: a password changed meanwhile stays changed."""
        replaced = User.objects.filter(pk=self.pk, password=self.password).update(password=encoded)
        if replaced:
            self.password = encoded

    # What Django's admin site asks of a user; the answers come from accounts.roles.

    @property
    def is_staff(self) -> bool:
        """Every active user may sign in to the admin site; it shows what their role allows."""
        return self.is_active

    @property
    def is_superuser(self) -> bool:
        return is_admin(self)

    def has_perm(self, perm: str, obj: Any = None) -> bool:
        """Admins may all; others read. Each ModelAdmin narrows or widens this for its own rows."""
        return is_admin(self) or (self.is_active and ".view_" in perm)

    def has_perms(self, perm_list: list[str], obj: Any = None) -> bool:
        return all(self.has_perm(perm, obj) for perm in perm_list)

    def has_module_perms(self, app_label: str) -> bool:
        return self.is_active


JOBS_TABLE_COLUMNS: dict[str, bool] = {
    "name": True,
    "category": True,
    "pic_team": True,
    "cron_expression": True,
    "target": True,
    "end_date": True,
    "is_active": True,
    "last_execution_at": True,
    "next_execution_at": True,
    "created_by": False,
    "created_at": False,
    "updated_at": False,
}


class UiPreferences(Timestamped):
    """How one user likes the jobs table; absent keys have the defaults above."""

    user = models.OneToOneField(User, on_delete=models.CASCADE, related_name="ui_preferences")
    jobs_table_columns = models.JSONField(default=dict, blank=True)

    class Meta:
        verbose_name = _("table preferences")
        verbose_name_plural = _("table preferences")
        ordering = ("user",)

    def __str__(self) -> str:
        return f"Table preferences of {self.user}"


class LoginFailure(models.Model):
    """Failed sign-ins of one account or one address within one window; see accounts.throttle."""

    key = KeyField(max_length=80, primary_key=True)
    count = models.PositiveIntegerField(default=0)
    resets_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name = _("failed sign-ins")
        verbose_name_plural = _("failed sign-ins")
        ordering = ("resets_at",)

    def __str__(self) -> str:
        return f"{self.key}: {self.count}"


class AppendOnly(TypeError):
    """The history of changes is written once: nothing in the product changes or deletes a line of it."""


class AuditQuerySet(models.QuerySet["AuditEntry"]):
    def about(self, kind: str, object_id: UUID | str) -> Self:
        return self.filter(kind=kind, object_id=str(object_id))

    def update(self, **kwargs: Any) -> NoReturn:
        raise AppendOnly("An entry of the history of changes stays as it was written.")

    def delete(self) -> NoReturn:
        raise AppendOnly("The history of changes is kept for ever.")


class AuditEntry(models.Model):
    """One change: who did what to which object, when and which way. Written by `accounts.audit` alone."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    at = models.DateTimeField(_("when"))
    # No constraint in the database: somebody who is deleted while they change something stops neither.
    # Whoever is deleted leaves their name below; Django empties this.
    actor = models.ForeignKey(
        User,
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        db_constraint=False,
        db_index=False,
        verbose_name=_("who"),
    )
    # As it was then; "scheduler" or "command" where it was nobody.
    actor_name = models.CharField(_("who"), max_length=80)
    via = KeyField(_("by way of"), max_length=20, choices=Via.choices)
    kind = KeyField(_("kind"), max_length=20, choices=AuditKind.choices)
    object_id = KeyField(_("id"), max_length=36)
    object_name = models.CharField(_("name"), max_length=255)
    action = KeyField(_("action"), max_length=20, choices=AuditAction.choices)
    # Field -> [old, new], by the names that the API has for them, secrets masked (cronsched.core.masking).
    changes = models.JSONField(_("changes"), default=dict)
    note = models.TextField(_("note"), blank=True, default="")

    objects: ClassVar[models.Manager[Any]] = AuditQuerySet.as_manager()

    class Meta:
        verbose_name = _("change")
        verbose_name_plural = _("changes")
        ordering = ("-at", "-id")
        indexes = (
            # The page of an object.
            models.Index(fields=["kind", "object_id", "-at", "-id"], name="audit_by_object"),
            # What somebody did; Django's own look-up when a user is deleted.
            models.Index(fields=["actor", "-at", "-id"], name="audit_by_actor"),
            # The list, whole and by kind.
            models.Index(fields=["-at", "-id"], name="audit_newest"),
            models.Index(fields=["kind", "-at", "-id"], name="audit_by_kind"),
        )

    def __str__(self) -> str:
        return f"{self.object_name} {self.get_action_display()}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise AppendOnly("An entry of the history of changes stays as it was written.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AppendOnly("The history of changes is kept for ever.")


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def visible_to(self, user: Any) -> ApiKeyQuerySet:
        """An admin sees all, others their own."""
        return self if is_admin(user) else self.filter(owner_id=user.pk)


class ApiKey(models.Model):
    """What a program signs in with, in its owner's name. The key itself is not kept, only its hash."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(
        User, on_delete=models.CASCADE, related_name="api_keys", verbose_name=_("owner")
    )
    name = models.CharField(_("name"), max_length=100)
    # The key's first characters, by which a person tells it from others.
    prefix = KeyField(_("key"), max_length=16, editable=False)
    # SHA-256: enough for 256 random bits, which nobody guesses; a request is to cost one look-up.
    secret_hash = KeyField(max_length=64, unique=True, editable=False)
    # Never more than the owner's own at the time of a request.
    role = KeyField(_("role"), max_length=10, choices=Role.choices, default=Role.VIEWER)
    # A team's slug: only its jobs are there for the key; "" for no limit.
    team = KeyField(_("only for team"), max_length=100, blank=True, default="", db_index=True)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    created_at = models.DateTimeField(_("created"), editable=False)
    # To the minute.
    last_used_at = models.DateTimeField(_("last used"), null=True, editable=False)
    revoked_at = models.DateTimeField(_("revoked"), null=True, editable=False)

    objects: ClassVar[models.Manager[Any]] = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        ordering = ("-created_at", "id")
        constraints = (
            models.CheckConstraint(name="api_key_role_known", condition=models.Q(role__in=Role.values)),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"
