"""URLs taken apart."""

import pytest

from entrepot.fetch import urls
from entrepot.fetch.errors import BlockedScheme, InvalidUrl


@pytest.mark.parametrize(
    ("url", "host", "port", "resource"),
    [
        ("http://Example.COM", "example.com", 80, "/"),
        ("https://example.com./a?b=c#d", "example.com", 443, "/a?b=c"),
        ("HTTP://example.com:8080/a%20b", "example.com", 8080, "/a%20b"),
        ("http://example.com/a b/é", "example.com", 80, "/a%20b/%C3%A9"),
        ("https://bücher.example/", "xn--bcher-kva.example", 443, "/"),
        ("http://[2606:4700::1111]:81/x", "2606:4700::1111", 81, "/x"),
        ("http://example.com?x=1", "example.com", 80, "/?x=1"),
    ],
)
def test_a_url_is_taken_apart(url, host, port, resource):
    target = urls.read(url)
    assert (target.host, target.port, target.resource) == (host, port, resource)


@pytest.mark.parametrize(
    "url",
    [
        "", "example.com", "/a", "//example.com/a", "http:/example.com", "http:example.com", "http://",
        "http://exa mple.com/", "http://example.com:x/", "http://example.com:99999/", "http://[::1/", "http://[x]/",
        "http://[fe80::1%25eth0]/", "http://a@b/", "http://user:secret@example.com/", "http://evil.com\\@example.com/",
        "http://" + "a" * 300 + ".com/", "http://-a.com/", "http://xn--\u0600.com/", "http://a/" + "x" * 20000,
    ],
)  # fmt: skip
def test_what_is_no_sound_url_is_refused_without_its_secrets(url):
    with pytest.raises((InvalidUrl, BlockedScheme)) as caught:
        urls.read(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("bad", ["\r\nX: y", "\n", "\t", "\0", "\x7f", "\x85"])
def test_f06_a_url_with_a_line_break_or_control_character_is_refused(bad):
    for url in (f"http://example.com/{bad}x", f"http://exam{bad}ple.com/", f"http://example.com/?{bad}"):
        with pytest.raises(InvalidUrl):
            urls.read(url)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "gopher://x/", "ftp://x/", "data:,x", "javascript:x", "unix:x"])
def test_f04_other_schemes_are_refused(url):
    with pytest.raises(BlockedScheme):
        urls.read(url)


def test_a_url_is_shown_without_what_may_be_secret():
    assert urls.shown("https://u:p@h.com/a?sig=s#f") == "https://h.com/a"
    assert urls.shown("data:text/plain,secret") == "data:..."
    assert urls.shown("http://h/\x1b[31m") == "http://h/?[31m"
    assert len(urls.shown("http://h/" + "a" * 999)) == 200


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/b", "http://a.com/b"),
        ("c", "http://a.com/x/c"),
        ("//other.com/d", "http://other.com/d"),
        ("https://other.com/e", "https://other.com/e"),
        ("?q=1", "http://a.com/x/y?q=1"),
        ("../../../z", "http://a.com/z"),
    ],
)
def test_f04_a_relative_redirect_is_joined(location, url):
    assert urls.follow(urls.read("http://a.com/x/y"), location).url == url


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("/files/b/0123abcd/abc_x.png", True),
        ("/files/b/0123abcd/abc%20x.png?download=1", True),
        ("/files/b/0123abcd/../../x", False),
        ("/files/b/0123abcd/..", False),
        ("/files/b/0123abcd/%2e%2e", False),
        ("/files/b/0123abcd/a%2fb", False),
        ("/files/b/0123abcd/a%5cb", False),
        ("/files/b/0123abcd/a/multipart/1", False),
        ("/files/b/zz/abc", False),
        ("/users/current", False),
        ("/", False),
    ],
)
def test_f08_only_a_file_of_our_server_is_an_object(path, known):
    assert urls.is_object(urls.read(f"http://media.example.com{path}")) is known


@pytest.mark.parametrize(
    "url",
    [
        "http://user:secret@ex\u2100mple.com/", "http://user:secret/x@h/", "http://user:secret?x@h/",
        "http://user:secret#x@h/", "https:/user:secret@h/", "https:///user:secret@h/",
        "https:user:secret@h/", "user:secret@h/", "https:\\\\user:secret@h/", "http://[user:secret@h/",
        "http://user:12secret/x@h/", "http://user:sec@secret@h:x/",
    ],
)  # fmt: skip
def test_a_misspelt_url_is_refused_without_its_secrets(url):
    with pytest.raises((InvalidUrl, BlockedScheme)) as caught:
        urls.read(url)
    assert "secret" not in str(caught.value)


def test_a_redirect_that_is_no_url_is_told_without_its_secrets():
    with pytest.raises(InvalidUrl) as caught:
        urls.follow(urls.read("http://h/"), "http://user:secret@ex\u2100mple.com/")
    assert "secret" not in str(caught.value)


def test_an_at_sign_in_a_path_or_behind_a_port_is_no_credential():
    assert urls.shown("https://h.com/@user/a") == "https://h.com/@user/a"
    assert urls.shown("https://h.com:8080/a@b?x@y") == "https://h.com:8080/a@b"
    assert urls.shown("https://h.com:8080?x@y") == "https://h.com:8080"
    assert urls.shown("http://[::1]:80/a@b") == "http://[::1]:80/a@b"
