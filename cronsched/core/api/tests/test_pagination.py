from __future__ import annotations

import pytest

from accounts.models import User
from accounts.tests.factories import UserFactory
from cronsched.core.api.pagination import MAX_PAGE, Page, read_limit, read_page
from cronsched.core.errors import InvalidInput


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, Page(number=1, size=20)),
        ({"page": "3"}, Page(number=3, size=20)),
        ({"per_page": "5"}, Page(number=1, size=5)),
        ({"page": "2", "per_page": "1000"}, Page(number=2, size=100)),
        ({"page": "9" * 30}, Page(number=MAX_PAGE, size=20)),
        ({"limit": "7"}, Page(number=1, size=20)),
    ],
)
def test_pages(params: dict[str, str], expected: Page) -> None:
    assert read_page(params) == expected


@pytest.mark.parametrize(
    "params", [{"page": "0"}, {"page": "-2"}, {"page": "x"}, {"per_page": "0"}, {"per_page": ""}]
)
def test_pages_that_make_no_sense(params: dict[str, str]) -> None:
    with pytest.raises(InvalidInput):
        read_page(params)


def test_the_size_may_be_called_limit() -> None:
    assert read_page({"limit": "7"}, size_name="limit", maximum=200) == Page(number=1, size=7)
    assert read_limit({"limit": "201"}) == 200
    assert read_limit({}) == 50


@pytest.mark.parametrize(("total", "pages"), [(0, 0), (1, 1), (20, 1), (21, 2)])
def test_total_pages(total: int, pages: int) -> None:
    assert Page(number=1, size=20).total_pages(total) == pages


@pytest.mark.django_db
def test_cutting_gives_the_rows_of_the_page_and_none_beyond() -> None:
    for name in "abc":
        UserFactory(username=f"user_{name}")
    users = User.objects.order_by("username_key")

    assert [user.username for user in Page(number=2, size=2).cut(users)] == ["user_c"]
    assert [user.username for user in Page(number=2, size=2).cut_by_id(users)] == ["user_c"]
    assert [user.username for user in Page(number=1, size=2).cut_by_id(users)] == ["user_a", "user_b"]
    assert list(Page(number=3, size=2).cut_by_id(users)) == []
    assert list(Page(number=MAX_PAGE, size=200).cut(users)) == []


def test_an_unordered_list_cannot_be_cut() -> None:
    with pytest.raises(TypeError, match="unordered"):
        Page(number=1, size=2).cut(User.objects.order_by())
