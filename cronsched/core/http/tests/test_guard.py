from __future__ import annotations

from ipaddress import ip_network

import pytest

from cronsched.core.http.guard import AddressPolicy, check_url, judge_url

STRICT = AddressPolicy()
PRIVATE = AddressPolicy(allow_private=True)

PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450:4001:800::200e"]
# Let through by WEBHOOK_ALLOW_PRIVATE_NETWORKS.
PRIVATE_ONLY = [
    "127.0.0.1",
    "127.255.255.254",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "::1",
    "fc00::1",
    "fd12:3456::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::10.0.0.1",
]
# Let through by no switch; only by being named.
NEVER = [
    "0.0.0.0",  # noqa: S104 - judged, not bound
    "0.1.2.3",
    "100.64.0.1",
    "100.127.255.255",
    "100.100.100.200",
    "168.63.129.16",
    "169.254.169.254",
    "169.254.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:169.254.169.254",
    "::ffff:0.0.0.0",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:10::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_policy_lets_public_addresses_through(address):
    assert STRICT.check(address) is None
    assert PRIVATE.check(address) is None


@pytest.mark.parametrize("address", PRIVATE_ONLY)
def test_policy_blocks_private_addresses_until_they_are_allowed(address):
    reason = STRICT.check(address)

    assert reason is not None
    assert "WEBHOOK_ALLOW_PRIVATE_NETWORKS" in reason
    assert PRIVATE.check(address) is None


@pytest.mark.parametrize("address", NEVER)
def test_policy_blocks_special_addresses_even_when_private_ones_are_allowed(address):
    reason = PRIVATE.check(address)

    assert reason is not None
    assert "WEBHOOK_ALLOWED_NETWORKS" in reason
    assert "WEBHOOK_ALLOW_PRIVATE_NETWORKS" not in reason


@pytest.mark.parametrize(
    ("network", "address"),
    [
        ("10.1.0.0/16", "10.1.2.3"),
        ("10.1.0.0/16", "::ffff:10.1.2.3"),
        ("10.1.0.0/16", "64:ff9b::10.1.2.3"),
        ("100.64.0.0/10", "100.64.1.1"),
        ("169.254.169.254/32", "169.254.169.254"),
        ("fe80::/10", "fe80::1%eth0"),
    ],
)
def test_policy_lets_a_named_network_through(network, address):
    policy = AddressPolicy(allowed_networks=(ip_network(network),))

    assert policy.check(address) is None


def test_policy_lets_nothing_but_the_named_network_through():
    policy = AddressPolicy(allowed_networks=(ip_network("10.1.0.0/16"),))

    assert policy.check("10.2.0.1") is not None
    assert policy.check("127.0.0.1") is not None
    assert policy.check("fd00::1") is not None


def test_policy_blocks_what_is_no_address():
    assert STRICT.check("localhost") == "it is not an IP address"


GOOD_URLS = [
    "https://example.com/hook",
    "https://EXAMPLE.com:8443/hook?a=b%2Fc#part",
    "https://example.com./",
    "https://例え.jp/フック?名=値",
    "https://xn--r8jz45g.jp/",
    "https://faß.de/",
    "https://a_b.example.com/with a space",
    "https://8.8.8.8/",
    "https://[2606:4700:4700::1111]:443/",
    "https://example.com:/",
    "HTTPS://example.com",
]


@pytest.mark.parametrize("url", GOOD_URLS)
def test_check_url_accepts(url):
    assert check_url(url, STRICT) is None


# The same address in every spelling that some library understands.
LOOPBACK_URLS = [
    "https://127.0.0.1/",
    "https://127.0.0.1./",
    "https://127.1/",
    "https://127.0.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.1/",
    "https://0X7F.0x0.0.01/",
    "https://017700000001/",
    "https://0177.0.0.1/",
    "https://１２７.０.０.１/",
    "https://127。0。0。1/",
    "https://①②⑦.⓪.⓪.①/",
    "https://localhost/",
    "https://LOCALHOST./",
    "https://app.localhost/",
    "https://ⓛocalhost/",
    "https://[::1]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[0000:0000:0000:0000:0000:ffff:127.0.0.1]/",
    "https://[::127.0.0.1]/",
    "https://[2002:7f00:1::]/",
    "https://0/",
    "https://0.0.0.0/",
    "https://[::]/",
    "https://[fe80::1%25eth0]/",
    "https://2852039166/",
    "https://169.254.169.254/latest/meta-data/",
]


@pytest.mark.parametrize("url", LOOPBACK_URLS)
def test_check_url_blocks_every_spelling_of_an_inner_address(url):
    refusal = judge_url(url, STRICT)

    assert refusal is not None
    assert refusal.is_blocked
    assert "is not public" in refusal.sentence


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://example.com/", "WEBHOOK_ALLOW_HTTP"),
        ("ftp://example.com/", "must begin with https://"),
        ("file:///etc/passwd", "must begin with https://"),
        ("//example.com/", "must begin with https://"),
        ("example.com/hook", "must begin with https://"),
        ("", "must begin with https://"),
        ("https:///hook", "no host"),
        ("https:example.com", "no host"),
        ("https://", "no host"),
        ("https://user:secret@example.com/", "user name or a password"),
        ("https://user@example.com/", "user name or a password"),
        ("https://@example.com/", "user name or a password"),
        ("https://example.com:0/", "port"),
        ("https://example.com:99999/", "not valid"),
        ("https://example.com:http/", "not valid"),
        ("https://example.com:8_0/", "not valid"),
        ("https://example.com:+80/", "not valid"),
        ("https://[::1]:8_0/", "not valid"),
        ("https://good.com\\@127.0.0.1/", "not valid"),
        ("https://[::1/", "not valid"),
        ("https://[v1.x]/", "host is not valid"),
        ("https://exa mple.com/", "space or a control character"),
        (" https://example.com/", ""),
        ("https://example.com/\n", "space or a control character"),
        ("https://%31%32%37.0.0.1/", "host is not valid"),
        ("https://a%00b.com/", "host is not valid"),
        ("https://a..b.com/", "host is not valid"),
        ("https://example.com../", "host is not valid"),
        (f"https://{'a' * 64}.com/", "host is not valid"),
        (f"https://{'a.' * 127}com/", "host is not valid"),
        ("https://-a.com/", "host is not valid"),
        ("https://*.example.com/", "host is not valid"),
        ("https://1.2.3.4.5/", "host is not valid"),
        ("https://256.1.1.1/", "host is not valid"),
        ("https://example.0x7f/", "host is not valid"),
        ("https://134744072/", "Write the URL's host as 8.8.8.8."),
        ("https://8.8.8.8./", "Write the URL's host as 8.8.8.8."),
    ],
)
def test_check_url_refuses_with_a_sentence(url, told):
    sentence = check_url(url, STRICT)

    assert sentence is not None
    assert told in sentence
    assert "secret" not in sentence


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/hook", "http://localhost/", "https://[::1]/"])
def test_check_url_lets_local_targets_through_where_the_operator_did(url):
    assert check_url(url, PRIVATE, allow_http=True) is None


def test_check_url_names_both_schemes_where_both_are_allowed():
    assert check_url("ftp://x.com", STRICT, allow_http=True) == "The URL must begin with http:// or https://."
