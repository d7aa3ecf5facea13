from __future__ import annotations

import pytest

from cronsched.core.masking import filled_in, has_marks, is_secret_name, masked_pair, masked_target


@pytest.mark.parametrize(
    ("name", "is_secret"),
    [
        ("password", True),
        ("apiToken", True),
        ("API_KEY", True),
        ("client-secret", True),
        ("x-authorization", True),
        ("private_key", True),
        ("author", False),
        ("tokenizer", False),
        ("key", False),
        ("monkey", False),
        ("compass", False),
    ],
)
def test_which_names_are_of_secrets(name, is_secret):
    assert is_secret_name(name) is is_secret


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        (
            {"token": "a", "n": 1},
            {"token": "b", "n": 1},
            [{"token": "[set]", "n": 1}, {"token": "[changed]", "n": 1}],
        ),
        ({"in": {"pwd": "a"}}, {"in": {"pwd": "a"}}, [{"in": {"pwd": "[set]"}}, {"in": {"pwd": "[set]"}}]),
        ([{"secret": 1}], [{"secret": 2}], [[{"secret": "[set]"}], [{"secret": "[changed]"}]]),
        ({"token": ""}, {"token": None}, [{"token": ""}, {"token": None}]),
        (None, {"token": {"deep": 1}}, [None, {"token": "[set]"}]),
        (
            "https://h/?token=1&b=2",
            "https://h/?token=2&b=2",
            ["https://h/?token=[set]&b=2", "https://h/?token=[changed]&b=2"],
        ),
        ("https://u:p@h/", "https://h/", ["https://[set]@h/", "https://h/"]),
        ("a/b", 7, ["a/b", 7]),
    ],
)
def test_what_a_history_keeps(old, new, shown):
    assert masked_pair(old, new) == shown


@pytest.mark.parametrize(
    ("kept", "present", "whole"),
    [
        ({"token": "[set]", "k": 1}, {"token": "t", "k": 2}, {"token": "t", "k": 1}),
        ({"token": "[changed]"}, {"token": "t"}, {"token": "t"}),
        ("https://h/?token=[changed]", "https://h/?token=t", "https://h/?token=t"),
        ([{"token": "[set]"}], [{"token": "t"}], [{"token": "t"}]),
    ],
)
def test_what_was_taken_out_comes_back_from_what_is_there(kept, present, whole):
    assert filled_in(kept, present) == whole


@pytest.mark.parametrize(
    ("kept", "present"),
    [
        ({"token": "[set]"}, {}),
        ({"token": "[set]"}, None),
        ("https://h/?token=[set]", "https://other/?token=t"),
        ([{"token": "[set]"}], []),
    ],
)
def test_without_a_counterpart_the_mark_stays(kept, present):
    assert has_marks(filled_in(kept, present))


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("https://hooks.example.com/run", "https://hooks.example.com/run"),
        ("https://hooks.example.com/run?token=abc#part", "https://hooks.example.com/run"),
        (
            "https://me:pw@hooks.example.com:8443/v2/nightly-report",
            "https://hooks.example.com:8443/v2/nightly-report",
        ),
        (
            "https://hooks.slack.com/services/T024BE7LD/B000/aB3dE5gH7jK9mN1pQ3sT5vW7",
            "https://hooks.slack.com/services/…E7LD/B000/…5vW7",
        ),
        (
            "https://hc.example.com/ping/5b1f8a52-6d1b-4b1e-9d3f-2f6a1c0de123",
            "https://hc.example.com/ping/…e123",
        ),
        ("https://x.example.com/AbCdEfGhIjKlMnOp/run", "https://x.example.com/…MnOp/run"),
        (
            "https://x.example.com/20260310/synchronise-customers",
            "https://x.example.com/20260310/synchronise-customers",
        ),
        ("acme/app/actions/workflows/build-2026a7b8.yml", "acme/app/actions/workflows/build-2026a7b8.yml"),
    ],
)
def test_a_target_is_named_without_its_keys(target, shown):
    assert masked_target(target) == shown
