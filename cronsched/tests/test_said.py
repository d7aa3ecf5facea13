"""Sentences made in English, shown in the viewer's language."""

from __future__ import annotations

import pytest
from django.utils import translation

from cronsched.core.said import said
from jobs import schedule


@pytest.mark.parametrize(
    ("english", "japanese"),
    [
        ("Job expired", "ジョブは終了しています"),
        ("end_date is required.", "end_date は必須です。"),
        ('A job named "A job named "x" already exists." already exists.', None),
        ("Connection refused by api.example.com:443", "api.example.com:443 が接続を拒否しました"),
        ("After 3 attempts: The receiver answered 500 Internal Server Error.", None),
        ("Nightly was disabled", "Nightly が無効になりました"),
        (
            "Slot 2026-03-10 21:00 (Asia/Tokyo). 500 Server Error",
            "予定時刻 2026-03-10 21:00 (Asia/Tokyo)。 500 Server Error",
        ),
        (
            "end_date is required. name must have 1 to 255 characters.",
            "end_date は必須です。 name は 1〜255 文字にしてください。",
        ),
        ("Written by nobody here", "Written by nobody here"),
        ("", ""),
    ],
)
def test_a_sentence_is_translated_with_what_was_put_in(english, japanese):
    with translation.override("ja"):
        shown = said(english)

    assert shown == japanese if japanese is not None else shown != english
    assert said(english) == english


def test_what_was_put_in_is_translated_as_well():
    with pytest.raises(schedule.CronError) as refusal:
        schedule.parse("0 25 * * *")

    with translation.override("ja"):
        assert said(refusal.value) == '「時」の欄の "25" は範囲外です。0 から 23 の数を使ってください。'


def test_an_attempt_says_how_often_and_why():
    with translation.override("ja"):
        words = said("After 3 attempts: The receiver answered 500 Internal Server Error.")

    assert words == "3 回の試行の結果: 受信側の応答: 500 Internal Server Error。"
