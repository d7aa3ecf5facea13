"""No English is left on a page in Japanese, but for names, codes and the columns of a file."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from accounts.tests.factories import UserFactory
from cronsched.testing.fixtures_admin import Visitor
from jobs.services.bulk_upload.columns import COLUMNS
from tests.browser.addresses import pages_of
from tests.browser.world import populate

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

LETTERS, JAPANESE = re.compile(r"[A-Za-z]{3}"), re.compile(r"[ぁ-んァ-ヶ一-龠]")
# Elements whose text is a program's, a code or a choice among names.
ASIDE = {"script", "style", "pre", "code", "template", "option"}
SPOKEN = {"title", "aria-label", "placeholder", "data-label", "alt"}
COLUMN_NAMES = {column.title for column in COLUMNS}
# Times, zones, addresses, codes; names of products; and what tests/browser/world.py puts in.
NOT_WORDS = re.compile(
    r"""[\d:. -]+(JST|\+09:00)|\(?[A-Z][a-z]+/[A-Z][a-z]+\)?|POST\ .*|https?:.*|\S*@\S*|\S+:\d+|[a-z\d_./-]+
    |cronsched|Webhook(\ ·|\ URL)?|GitHub(\ App|\ Actions)?(\ ·)?|App\ ID|Slack(\ settings)?|CSV|JST|API|Cron
    |·?\ ?Platform|General|Ended(\ \|\ cronsched)?|(500\ )?Server\ Error
    |Notification\ preferences\ of.*|term\ \d+:.*
    |prune.*|\d+:\ job\ 'prune'.*|Job\ failed|[\da-f-]{36}.*|A\ name\ that\ is.*|the\ mail\ server\ said.*
    |<script>.*|address:.*|nightly_.*|.*\(cs_1…\)|ops\+<script>.*""",
    re.VERBOSE,
)


class Spoken(HTMLParser):
    """What a page says, without the names of its icons."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._aside = 0
        self._is_icon = False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self._aside += tag in ASIDE
        given = dict(attrs)
        self._is_icon = "material-symbols-outlined" in (given.get("class") or "")
        self.texts += [given[name] for name in SPOKEN if given.get(name)]

    def handle_endtag(self, tag):
        self._aside -= tag in ASIDE
        self._is_icon = False

    def handle_data(self, data):
        if not (self._aside or self._is_icon):
            self.texts.append(data)


def english_in(html: str) -> set[str]:
    texts = (" ".join(text.split()) for text in Spoken(html).texts)
    return {
        text
        for text in texts
        if LETTERS.search(text)
        and not JAPANESE.search(text)
        and text not in COLUMN_NAMES
        and not NOT_WORDS.fullmatch(text)
    }


def test_nothing_is_left_in_english():
    admin = UserFactory(admin=True, username="ada_admin", language="ja")
    populate(admin)
    visitor = Visitor(admin)

    left = {name: english_in(visitor.get(path).content.decode()) for name, path in pages_of(admin).items()}

    assert [f"{name}: {text}" for name, texts in left.items() for text in texts] == []
