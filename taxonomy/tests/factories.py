from __future__ import annotations

from factory.declarations import LazyAttribute, Sequence
from factory.django import DjangoModelFactory

from taxonomy.models import GENERAL, JobCategory, PicTeam


class CategoryFactory(DjangoModelFactory):
    class Meta:
        model = JobCategory
        django_get_or_create = ("slug",)

    name = LazyAttribute(lambda category: category.slug.title())
    slug = GENERAL


class TeamFactory(DjangoModelFactory):
    class Meta:
        model = PicTeam

    name = Sequence(lambda n: f"Team {n}")
    slug = Sequence(lambda n: f"team-{n}")
    slack_handle = "@team"
