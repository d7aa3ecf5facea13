from __future__ import annotations

from datetime import UTC, datetime

import factory

from accounts.models import ApiKey, User
from accounts.roles import Role

PASSWORD = "correct-horse"


class UserFactory(factory.django.DjangoModelFactory):
    """A `user`; traits `admin`, `viewer`, `inactive`. The password is PASSWORD."""

    class Meta:
        model = User
        skip_postgeneration_save = True

    class Params:
        admin = factory.Trait(role=Role.ADMIN)
        viewer = factory.Trait(role=Role.VIEWER)
        inactive = factory.Trait(is_active=False)

    username = factory.Sequence(lambda n: f"user{n}")
    email = factory.LazyAttribute(lambda user: f"{user.username}@example.com")
    role = Role.USER

    @classmethod
    def _create(cls, model_class, *args, **kwargs):
        user = model_class(**{key: value for key, value in kwargs.items() if key != "password"})
        user.set_password(kwargs.get("password", PASSWORD))
        user.save()
        return user


class ApiKeyFactory(factory.django.DjangoModelFactory):
    """A key that nobody has the text of: for lists and refusals."""

    class Meta:
        model = ApiKey

    owner = factory.SubFactory(UserFactory)
    name = factory.Sequence(lambda n: f"Key {n}")
    prefix = factory.Sequence(lambda n: f"csk_{n:08}")
    secret_hash = factory.Sequence(lambda n: f"{n:064}")
    created_at = datetime(2026, 3, 1, tzinfo=UTC)
