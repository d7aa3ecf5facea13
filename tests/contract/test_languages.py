"""Names in any script mean the same on every database: which are one, how they sort, what slug they get."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest

from accounts.tests.factories import UserFactory
from cronsched.testing.fixtures_api import ApiClient
from taxonomy.tests.factories import CategoryFactory, TeamFactory
from tests.contract.calls import NEW_JOB, NEW_USER

pytestmark = [pytest.mark.django_db, pytest.mark.databases]

ARABIC, HEBREW = "نسخة احتياطية يومية", "גיבוי לילי"
FAMILY, FLAG_ = "👩‍👩‍👧‍👦", "🇯🇵"
# Trimmed, in NFC, without case.
ONE_NAME = [
    ("Café", unicodedata.normalize("NFD", "CAFÉ")),
    ("Straße", "STRASSE"),
    ("Straße", "straẞe"),
    ("ΣΊΣΥΦΟΣ", "σίσυφος"),
    ("Ǆungla", "ǆungla"),
    ("ﬃx", "FFIX"),
    ("がんばれ", unicodedata.normalize("NFD", "がんばれ")),
    ("日本語", " 日本語\t"),
    ("ПРИВЕТ", "привет"),
    ("Åre", "Åre"),
    ("İstanbul", unicodedata.normalize("NFD", "İSTANBUL")),
    ("🚀 Launch", "🚀 LAUNCH"),
]
# What a database's own collation may call the same.
TWO_NAMES = [
    ("é", "e"),
    ("ı", "i"),
    ("İ", "I"),
    ("ß", "s"),
    ("か", "が"),
    ("カ", "か"),
    ("ハハ", "パパ"),
    ("ｶ", "カ"),
    ("Ａ", "A"),
    ("😀", "😁"),
    ("🚀", "🛸"),
    (FAMILY, "👩"),
    ("あ", "ぁ"),
    ("ー", "―"),
    (ARABIC, "نسخه احتياطية يومية"),
    ("𠮷野", "吉野"),
    ("a b", "a  b"),
    ("æ", "ae"),
]
SLUGS = [
    ("Month end", "month-end"),
    ("ＡＢＣ１２", "abc12"),
    ("Übergröße", "ubergrosse"),
    ("Straße", "strasse"),
    ("  Çok--iyi!  ", "cok-iyi"),
    ("営業", "{kind}-8c6bb3d2"),
    ("がんばれ", "{kind}-eb5c412a"),
    ("データ Team", "team-eebcb86a"),
    (ARABIC, "{kind}-fea8ef29"),
    (HEBREW, "{kind}-0382efb4"),
    ("🚀", "{kind}-ebbc0b28"),
    (f"{FLAG_} Tokyo", "tokyo"),
    ("ışık", "s-k-d8cdbc41"),
]


@pytest.fixture
def admin() -> ApiClient:
    CategoryFactory(slug="maintenance", name="Maintenance")
    TeamFactory(slug="devops", name="DevOps")
    return ApiClient(UserFactory(admin=True))


def create(admin: ApiClient, kind: str, name: str) -> Any:
    if kind == "job":
        return admin.post("/jobs", {**NEW_JOB, "name": name})
    if kind == "category":
        return admin.post("/job-categories", {"name": name})
    return admin.post("/pic-teams", {"name": name, "slack_handle": "@チーム"})


@pytest.mark.parametrize(("name", "other"), ONE_NAME)
def test_one_name_in_two_spellings(admin: ApiClient, name: str, other: str) -> None:
    for kind, refused in (("job", 400), ("category", 409), ("team", 409)):
        assert create(admin, kind, name).status_code == 201
        assert create(admin, kind, other).status_code == refused


@pytest.mark.parametrize(("name", "other"), TWO_NAMES)
def test_two_names_that_look_alike(admin: ApiClient, name: str, other: str) -> None:
    assert create(admin, "job", name).json()["job"]["name"] == name
    assert create(admin, "job", other).json()["job"]["name"] == other


@pytest.mark.parametrize(("name", "slug"), SLUGS)
def test_every_name_has_its_slug_and_always_the_same(admin: ApiClient, name: str, slug: str) -> None:
    for kind, path, key in (("category", "/job-categories", "category"), ("team", "/pic-teams", "pic_team")):
        made = create(admin, kind, name).json()[key]
        away = admin.put(f"{path}/{made['id']}", {"name": "Elsewhere"})
        back = admin.put(f"{path}/{made['id']}", {"name": unicodedata.normalize("NFD", name.upper())})

        assert made["slug"] == slug.format(kind=kind)
        assert made["name"] == name.strip()
        assert away.json()[key]["slug"] == "elsewhere"
        if name.upper().casefold() == name.casefold():
            assert back.json()[key]["slug"] == made["slug"]


@pytest.mark.parametrize("name", ["営業部", ARABIC, HEBREW, "Übergröße", f"{FAMILY} {FLAG_}", "𠮷野家"])
def test_a_job_finds_its_team_and_category_by_their_names(admin: ApiClient, name: str) -> None:
    slugs = {
        "category": create(admin, "category", name).json()["category"]["slug"],
        "pic_team": create(admin, "team", name).json()["pic_team"]["slug"],
    }
    other_spelling = unicodedata.normalize("NFD", f" {name.upper()} ") if "ß" not in name else name

    job = admin.post("/jobs", {**NEW_JOB, "name": name, **dict.fromkeys(slugs, other_spelling)}).json()["job"]

    assert {field: job[field] for field in slugs} == slugs
    for query in ({"category": name}, {"pic_team": slugs["pic_team"]}, {"search": name[1:].upper()}):
        assert [one["id"] for one in admin.get("/jobs", query).json()["jobs"]] == [job["id"]], query


def test_what_is_written_comes_back(admin: ApiClient) -> None:
    metadata = {"名前": "夜間🌙", ARABIC: [HEBREW, {"👍": "𠮷"}], "nested": {"ß": "ẞ"}, "\u202e": "\u200f"}

    job = create(admin, "job", f"{FAMILY} {ARABIC}").json()["job"]
    changed = admin.put(f"/jobs/{job['id']}", {"metadata": metadata, "name": f"夜間バックアップ {FLAG_}"})

    assert changed.json()["job"]["metadata"] == metadata
    assert admin.get(f"/jobs/{job['id']}").json()["job"] == changed.json()["job"]
    run = admin.post(f"/jobs/{job['id']}/execute").json()["execution"]
    assert (
        admin.get(f"/executions/{run['id']}").json()["execution"]["job_name"] == f"夜間バックアップ {FLAG_}"
    )


def test_names_sort_alike_everywhere(admin: ApiClient) -> None:
    names = ["zebra", "Äpfel", "apfel", "Zoo", "ァ", "あ", "日", "𠮷", "😀", "É", "e", "ß", "Ω"]
    for name in names:
        create(admin, "job", name)

    shown = [job["name"] for job in admin.get("/jobs?ordering=name").json()["jobs"]]

    # By the code points of the name without case, which is what SQLite does.
    assert shown == ["apfel", "e", "ß", "zebra", "Zoo", "Äpfel", "É", "Ω", "あ", "ァ", "日", "😀", "𠮷"]


@pytest.mark.parametrize("letter", ["😀", "𠮷", "ﬃ", "あ", "İ"])
def test_the_longest_name_fits(admin: ApiClient, letter: str) -> None:
    """Four bytes a letter, or three letters for one without case: 255 of them are a name."""
    for kind in ("job", "category", "team"):
        assert create(admin, kind, letter * 255).status_code == 201
        assert create(admin, kind, letter * 256).status_code == 400


@pytest.mark.parametrize(
    ("username", "other"),
    [("Straße", "STRASSE"), ("Jürgen", unicodedata.normalize("NFD", "JÜRGEN")), ("ゆうた", "ゆうた")],
)
def test_usernames_are_one_without_case(admin: ApiClient, username: str, other: str) -> None:
    made = admin.post("/auth/register", {**NEW_USER, "username": username})
    again = admin.post("/auth/register", {**NEW_USER, "username": other, "email": "other@example.com"})
    signed_in = ApiClient().post("/auth/login", {"username": other, "password": NEW_USER["password"]})

    assert (made.status_code, made.json()["user"]["username"]) == (201, username)
    assert (again.status_code, again.json()["error"]) == (409, "Username already exists")
    assert signed_in.json()["user"]["id"] == made.json()["user"]["id"]
