"""Promise: no photo URL, however it is written, leads to an address that is not public."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.core.errors import UrlFailedError, UrlRefusedError
from indexer.fetch.address_check import (
    AddressCheck,
    check_endpoint,
    check_url,
    forbidden_address,
    shown_url,
)
from indexer.fetch.settings import FetchSettings

INNER_V4 = (
    *("127.0.0.1", "127.8.9.1", "0.0.0.0", "10.0.0.5", "172.16.0.1", "172.31.255.255"),
    *("192.168.1.1", "169.254.169.254", "169.254.170.2", "100.64.0.1", "100.127.255.254"),
    *("100.100.100.200", "192.0.0.192", "192.0.2.7", "198.18.0.1", "198.51.100.9", "203.0.113.3"),
    *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "168.63.129.16"),
)
INNER_V6 = (
    *("::1", "::", "fe80::1", "fec0::1", "fc00::1", "fd00:ec2::254", "fdff::7", "ff02::1"),
    *("ff0e::1", "2001:db8::1", "3fff::1", "100::1", "2001::1", "2001:10::1", "5f00::1"),
    *("::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.1.2.3", "::ffff:0:127.0.0.1"),
    *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1", "2002:7f00:1::"),
    *("2002:a9fe:a9fe::1", "2001:0:7f00:1::1", "2001:470::5efe:127.0.0.1"),
    *("2a00::200:5efe:10.0.0.1",),
)
# What readers of URLs take for 127.0.0.1 or 169.254.169.254, each its own way.
NUMBERS = (
    *("2130706433", "0x7f000001", "0x7F.0.0.1", "0x7f.1", "0177.0.0.1", "017700000001", "127.1"),
    *("127.0.1", "127.00.00.01", "0.0.0.0.", "0", "00", "0x", "2852039166", "0xa9fea9fe"),
    *("0251.0376.0251.0376", "169.254.43518", "256.1.1.1", "1.2.3.4.5", "127.0.0.1."),
    *("127。0。0。1", "１２７.０.０.１", "①②⑦.⓪.⓪.①", "127.0.0.0x1", "4294967296"),
)
FORMS = (
    *("file:///etc/passwd", "ftp://photos.example/a.jpg", "gopher://photos.example/", "data:,x"),
    *("jar:http://photos.example!/", "dict://photos.example:11211/", "javascript:alert(1)", ""),
    *("//photos.example/a.jpg", "photos.example/a.jpg", "http:photos.example", "http:/127.0.0.1/"),
    *("http://", "http:///a.jpg", "http://?a", "http://#", "http://.", "http://..", "http://-a/"),
    *("http://a..b/", "http://exa mple/", "http://%31%32%37.0.0.1/", "http://127%2e0.0.1/"),
    *("http://user@photos.example/", "http://user:secret@photos.example/", "http://@127.0.0.1/"),
    *("http://photos.example@127.0.0.1/", "http://127.0.0.1\\@photos.example/"),
    *("http://photos.example\\.127.0.0.1/", "http://photos.example\\@127.0.0.1/"),
    *("http://127.0.0.1#@photos.example/", "http://photos.example:80@127.0.0.1/"),
    *("http://[::1", "http://::1/", "http://[::1]x/", "http://[fe80::1%25eth0]/"),
    *("http://[fe80::1%eth0]/", "http://[v1.a]/", "http://[127.0.0.1]/", "http://[]/"),
    *("http://photos.example:0/", "http://photos.example:65536/", "http://photos.example:-1/"),
    *("http://photos.example:8O/", "http://photos.example:80:80/", "http://photos.example:22/"),
    *("http://photos.example:25/", "http://photos.example:6e3/", "http://photos.example\r\nX: y/"),
    *("http://photos.example/\x00", "http://photos.example/\ud800", "http://photos\t.example/"),
    *("http://" + "a" * 64 + ".example/", "http://" + "a." * 200 + "example/"),
    *("http://photos.example/" + "a" * 9000, "http://xn--a\u0301.example\u2044x/"),
)
HOSTILE = (
    *(f"http://{address}/a.jpg" for address in INNER_V4),
    *(f"https://{address}:8443/a.jpg" for address in INNER_V4[:8]),
    *(f"http://[{address}]/a.jpg" for address in INNER_V6),
    *(f"http://{number}/latest/meta-data/" for number in NUMBERS),
    *FORMS,
)


def no_resolver(host: str, port: int) -> Sequence[str]:
    """Every name is this machine."""
    return ["127.0.0.1"]


@pytest.mark.parametrize("url", HOSTILE)
def test_hostile_urls_are_refused(url: str) -> None:
    """Whatever form an inner address or a double-faced URL takes, nothing is connected to."""
    check = AddressCheck(FetchSettings(), no_resolver)
    with pytest.raises(UrlRefusedError) as caught:
        check.addresses(check.check(url))
    assert "secret" not in str(caught.value)


def test_there_are_enough_of_them() -> None:
    """The table holds at least a hundred different URLs."""
    assert len(set(HOSTILE)) >= 120


@given(st.integers(0, 2**32 - 1))
def test_public_is_what_python_says_too(number: int) -> None:
    """No IPv4 address passes that the standard library takes for special, and none of its forms."""
    address = ipaddress.IPv4Address(number)
    refused = forbidden_address(address) is not None
    special = not address.is_global or address.is_multicast or address.is_reserved
    assert refused >= special
    mapped = ipaddress.IPv6Address((0xFFFF << 32) | number)
    translated = ipaddress.IPv6Address((0x64FF9B << 96) | number)
    assert (forbidden_address(mapped) is not None) == refused
    assert (forbidden_address(translated) is not None) == refused
    for carried in (number, (0x2002 << 112) | (number << 80), (0x20010000 << 96) | number):
        assert forbidden_address(ipaddress.IPv6Address(carried)) is not None


@given(st.integers(0, 2**128 - 1))
def test_no_special_ipv6_address_passes(number: int) -> None:
    """What the standard library takes for special is refused."""
    address = ipaddress.IPv6Address(number)
    if not address.is_global or address.is_multicast:
        assert forbidden_address(address) is not None


@st.composite
def inner_forms(draw: st.DrawFn) -> str:
    """A loopback or private IPv4 address in any way of writing that some reader knows."""
    tail = draw(st.integers(0, 2**24 - 1))
    head = draw(st.sampled_from([127, 10, 0]))
    number = (head << 24) | tail
    parts = draw(st.integers(1, 4))
    texts = []
    for place in range(parts):
        rest = 32 - 8 * place
        value = (number >> (rest - 8)) & 255 if place < parts - 1 else number & ((1 << rest) - 1)
        form = draw(st.sampled_from(["{}", "0x{:x}", "0X{:08X}", "0{:o}", "000{:o}"]))
        texts.append(form.format(value))
    return ".".join(texts) + draw(st.sampled_from(["", "."]))


@given(inner_forms())
def test_numbers_in_any_form_are_refused(host: str) -> None:
    """Decimal, octal, hexadecimal, of one to four parts: refused as text or by its address."""
    check = AddressCheck(FetchSettings(), no_resolver)
    with pytest.raises(UrlRefusedError):
        check.addresses(check.check(f"http://{host}/a.jpg"))


@given(st.text(max_size=30))
def test_any_text_gives_a_refusal_or_an_ascii_url(text: str) -> None:
    """Nothing but a refusal is raised, and what passes is ASCII and means the same again."""
    try:
        url = check_url("http://photos.example/" + text)
    except UrlRefusedError:
        return
    assert url.host == "photos.example"
    assert url.text.isascii()
    assert not any(c in url.target for c in ' "<>\\^`{|}#')
    assert check_url(url.text) == url


def test_one_forbidden_address_refuses_the_name() -> None:
    """Of a name's addresses all are checked, so none can be slipped in beside a good one."""
    answers = ["93.184.216.34", "10.0.0.1"]
    check = AddressCheck(FetchSettings(), lambda host, port: answers)
    with pytest.raises(UrlRefusedError, match="not an address of the public Internet"):
        check.addresses(check.check("http://photos.example/"))
    answers.pop()
    assert check.addresses(check.check("http://photos.example/")) == ["93.184.216.34"]


def test_private_names_exactly_one_endpoint() -> None:
    """``private`` opens that host and port, no other port, no other spelling of the network."""
    settings = FetchSettings(private=frozenset({"nas.local:81", "127.0.0.1:9000"}))
    check = AddressCheck(settings, lambda host, port: ["192.168.1.7"])
    assert check.addresses(check.check("http://NAS.local:81/a.jpg")) == ["192.168.1.7"]
    assert check.addresses(check.check("http://127.0.0.1:9000/")) == ["127.0.0.1"]
    for url in ("http://nas.local:8080/", "http://127.0.0.1:9001/", "http://127.0.0.2:9000/"):
        with pytest.raises(UrlRefusedError, match="fetch_private"):
            check.addresses(check.check(url))


def test_no_setting_opens_the_metadata_service() -> None:
    """A name in ``private`` that resolves to a cloud's metadata address is refused all the same."""
    settings = FetchSettings(private=frozenset({"nas.local:80"}))
    for address in ("169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "0.0.0.0"):
        check = AddressCheck(settings, lambda host, port, found=address: [found])
        with pytest.raises(UrlRefusedError):
            check.addresses(check.check("http://nas.local/"))


def test_only_allowed_hosts_are_asked() -> None:
    """With ``hosts``, every other host is refused by name, and a star means names below."""
    settings = FetchSettings(
        private=frozenset({"10.0.0.9:80"}), hosts=frozenset({"Shop.example", "*.cdn.example"})
    )
    check = AddressCheck(settings)
    for url in ("http://shop.example/", "https://a.b.cdn.example/", "http://10.0.0.9/"):
        assert check.check(url).text == url
    for url in ("http://evilshop.example/", "http://cdn.example/", "http://a.shop.example/"):
        with pytest.raises(UrlRefusedError, match="not in the list of allowed hosts"):
            check.check(url)


def test_strangers_do_not_learn_which_names_are_known() -> None:
    """A name of the own network, one that nobody has and one that is not looked up in time are
    refused by the same words."""

    def resolve(host: str, port: int) -> Sequence[str]:
        if host == "late.local":
            time.sleep(0.2)
        return {"nas.local": ["10.0.0.1"], "photos.example": ["93.184.216.34"]}.get(host, [])

    check = AddressCheck(FetchSettings(connect_s=0.05), resolve, tells_names=False)
    told = set()
    for host in ("nas.local", "none.local", "late.local"):
        with pytest.raises(UrlRefusedError) as caught:
            check.addresses(check.check(f"http://{host}/"))
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        told.add(str(caught.value).replace(host, "HOST"))
    assert told == {"HOST:80 is not known to the public Internet"}
    assert check.addresses(check.check("http://photos.example/")) == ["93.184.216.34"]


def test_a_name_that_does_not_resolve_may_do_so_later() -> None:
    """No address is a failure that passes, not a refusal."""
    check = AddressCheck(FetchSettings(), lambda host, port: [])
    with pytest.raises(UrlFailedError) as caught:
        check.addresses(check.check("http://photos.example/"))
    assert caught.value.transient


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        (" http://Photos.Example/a b.jpg ", "http://photos.example/a%20b.jpg"),
        (
            "http://photos.example:080/衬衫,红.jpg?名=红 1#x",
            "http://photos.example/%E8%A1%AC%E8%A1%AB,%E7%BA%A2.jpg?%E5%90%8D=%E7%BA%A2%201",
        ),
        ("https://photos.example:443", "https://photos.example/"),
        ("https://bücher.example./a%20b%zz.jpg", "https://xn--bcher-kva.example/a%20b%25zz.jpg"),
        ("http://photos.example/w_3,h_2/a+b.jpg", "http://photos.example/w_3,h_2/a+b.jpg"),
        ("http://photos.example?x=[1]|2", "http://photos.example/?x=%5B1%5D%7C2"),
        ("http://photos.example/a\\b.jpg", "http://photos.example/a%5Cb.jpg"),
        ("http://93.184.216.34:8080/", "http://93.184.216.34:8080/"),
        ("http://[2606:4700:0:0::1111]/", "http://[2606:4700::1111]/"),
    ],
)
def test_urls_are_sent_as_urls_may_be_written(url: str, wanted: str) -> None:
    """Spaces, commas, Chinese, names of other scripts: encoded once, never twice."""
    assert check_url(url).text == wanted


@pytest.mark.parametrize(
    "url",
    [
        "http://me:secret@shop.example/a",
        " HTTPS://secret@shop.example",
        "http://a@secret@b/x",
        "http:\\\\secret@b/x",
    ],
)
def test_a_shown_url_has_no_password(url: str) -> None:
    """What stands before the host is in no message."""
    assert "secret" not in shown_url(url)
    assert len(shown_url(url + "/x" * 500)) <= 200


def test_settings_name_endpoints_by_host_and_port() -> None:
    """An endpoint without a port, or with a path, is refused with an example."""
    assert check_endpoint("[::1]:80") == "[::1]:80"
    for text in ("nas.local", "http://nas.local:80", "nas.local:80/a", "nas.local:0", "a@b:80"):
        with pytest.raises(UrlRefusedError):
            check_endpoint(text)
