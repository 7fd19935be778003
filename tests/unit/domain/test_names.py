"""Names are cosmetic, and inert wherever they go (docs/threats.md B01, B03, B06, B07, B11)."""

import email.message
import random
import unicodedata
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from entrepot.domain import disposition
from entrepot.domain.names import (
    ID_ALPHABET,
    MAX_NAME_BYTES,
    MAX_SEGMENT_LENGTH,
    clean_name,
    leading_id,
    new_id,
    new_timed_id,
    quote_segment,
    segment,
)

ID = "0123456789ABCDEFGHIJKL"
WILD = st.one_of(st.text(), st.text("/\\.%2fFeEcC5:~ \0\r\n\t\"';=+#?&\u202e\u2028\ud800é", max_size=40))


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("photo.png", "photo.png"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\windows\\win.ini", "win.ini"),
        ("..\\", ""),
        ("..\\..", ""),
        ("....//", ""),
        ("....//x", "x"),
        ("C:\\x", "x"),
        ("C:\\dir/x", "x"),
        ("/etc/passwd", "passwd"),
        ("//host/share/x", "x"),
        ("~root", "~root"),
        ("a/b/", "b"),
        ("..%2f..%2fetc%2fpasswd", "..%2f..%2fetc%2fpasswd"),
        ("%252e%252e/x", "x"),
        ("%2e%2e", "%2e%2e"),
        ("a/..", ""),
        ("a/\0", ""),
        ("..\u200b", ""),
        (None, ""),
        ("", ""),
        (".", ""),
        ("..", ""),
        (". . .", ""),
        ("   ", ""),
        ("/", ""),
        (" a.png ", "a.png"),
        ("a.", "a."),
        ("CON", "CON"),
        ("a:b", "a:b"),
        (".bashrc", ".bashrc"),
        ("a\r\nb.png", "ab.png"),
        ("a\0.png", "a.png"),
        ("\x1b[31mred.png", "[31mred.png"),
        ("txt.\u202egnp.exe", "txt.gnp.exe"),
        ("日本語.png", "日本語.png"),
        ("cafe\u0301.png", "cafe\u0301.png"),
        ('"; rm -rf', '"; rm -rf'),
        ("<img onerror>", "<img onerror>"),
        ("lone\ud800.png", "lone.png"),
    ],
)
def test_the_last_component_of_a_name_is_kept_without_what_is_not_shown(raw, name):
    assert clean_name(raw) == name


@given(WILD)
@example("." * 300)
@example("a" * 179 + " " + "b" * 40)
def test_a_clean_name_is_short_inert_and_stays_as_it_is(raw):
    name = clean_name(raw)
    assert "/" not in name and "\\" not in name
    assert {unicodedata.category(c) for c in name}.isdisjoint({"Cc", "Cf", "Cs", "Zl", "Zp"})
    assert len(name.encode()) <= MAX_NAME_BYTES
    assert name == "" or name.strip(". ")
    assert clean_name(name) == name


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="/\\"), min_size=200),
    st.sampled_from([".png", ".tar.gz", ".safetensors"]),
)
def test_a_long_name_keeps_its_extension(stem, extension):
    assert clean_name("a" + stem + extension).endswith(extension)


@pytest.mark.parametrize("letter", ["a", "é", "語", "🙂"])
def test_a_long_name_is_cut_between_characters_and_not_shorter_than_needed(letter):
    name = clean_name(letter * 300 + ".png")
    assert set(name.removesuffix(".png")) == {letter}
    assert MAX_NAME_BYTES - 4 < len(name.encode()) <= MAX_NAME_BYTES


def test_what_is_too_long_for_an_extension_is_none():
    assert clean_name("a." + "b" * 300) == "a." + "b" * 178


@given(WILD)
def test_a_segment_is_one_plain_ascii_component(raw):
    quoted = quote_segment(segment(ID, clean_name(raw), ".bin"))
    assert set(quoted) <= set(ID_ALPHABET + "-._~%")
    assert quoted.startswith(ID)
    parts = urlsplit(f"http://host/files/{quoted}")
    assert (parts.path, parts.query, parts.fragment) == (f"/files/{quoted}", "", "")
    assert not set(unquote(quoted)) & set("/\\\0\r\n")


@given(st.text(min_size=100))
@example("語" * 60 + ".png")
def test_a_segment_fits_a_file_name_even_undecoded(raw):
    """The stock `download_file` saves under the URL's last segment as it is spelled there."""
    name = clean_name(raw + ".png")
    quoted = quote_segment(segment(ID, name, ".bin"))
    assert len(quoted) <= MAX_SEGMENT_LENGTH == 255
    assert quoted.endswith(".png")


def test_a_name_that_fits_is_whole_in_the_segment():
    assert segment(ID, "a" * 180, ".bin") == ID + "_" + "a" * 180
    assert segment(ID, "写真.png", ".bin") == ID + "_写真.png"
    assert segment(ID, "", ".png") == ID + ".png"


def test_every_character_goes_round_through_a_segment():
    for start in range(0, 0x110000, 0x1000):
        text = "".join(c for c in map(chr, range(start, start + 0x1000)) if not 0xD800 <= ord(c) < 0xE000)
        quoted = quote_segment(text)
        assert quoted.isascii()
        assert unquote(quoted, errors="strict") == text


@pytest.mark.parametrize("text", ["#", "?", "%", "+", " ", ";", "&", "=", "%2f", "a b+c%20d#e?f;g", "\ud800"])
def test_reserved_characters_do_not_stand_bare_in_a_segment(text):
    assert set(quote_segment(text)) <= set(ID_ALPHABET + "-._~%")


@given(st.one_of(st.text(), WILD))
@example('a"b;filename=x.html\r\nSet-Cookie: a=b')
@example('a\\"; filename="x.html')
@example("a%22; filename*=UTF-8''x.html")
def test_a_disposition_is_one_header_with_one_pair_of_names(name):
    value = disposition.make("attachment", name)
    assert value.isascii() and value.isprintable()
    if not name:
        assert value == "attachment"
        return
    plain, starred = value.removeprefix('attachment; filename="').split("\"; filename*=UTF-8''")
    assert not set(plain) & set('"\\%')
    assert not set(starred) & set("\"'();,/:<>=@[]?{} ")
    assert unquote(starred) == name.encode("utf-8", "replace").decode()


def test_a_disposition_is_read_back_by_a_parser_of_headers():
    name = 'caf\u00e9 "quoted"; a=b; 100%.png'
    message = email.message.Message()
    message["Content-Disposition"] = disposition.make("attachment", name)
    assert message.get_content_disposition() == "attachment"
    assert message.get_filename() in (name, "caf_ _quoted_; a=b; 100_.png")


def test_ids_are_long_plain_and_different():
    source = random.Random(1)
    ids = {new_id(source.randbytes) for _ in range(1000)}
    assert len(ids) == 1000
    assert {len(i) for i in ids} == {22}
    assert set("".join(ids)) == set(ID_ALPHABET)
    assert len(ID_ALPHABET) ** 22 > 2**128


def test_timed_ids_have_as_many_random_letters_behind_the_second():
    source = random.Random(1)
    ids = {new_timed_id(1_800_000_000.9, source.randbytes) for _ in range(1000)}
    assert {i[:6] for i in ids} == {"1xocE4"}
    assert len({i[6:] for i in ids}) == 1000
    assert {len(i[6:]) for i in ids} == {22}


@given(st.lists(st.integers(0, 50_000_000_000), min_size=2))
def test_timed_ids_sort_by_their_time(times):
    source = random.Random(1)
    ids = [new_timed_id(time, source.randbytes) for time in times]
    assert [i[:6] for i in sorted(ids)] == [i[:6] for _, i in sorted(zip(times, ids, strict=True))]


@pytest.mark.parametrize("name", ["", "cat.png", "a_b.tar.gz", "_", "\u5199\u771f.jpg"])
@pytest.mark.parametrize("object_id", ["0" * 22, "zZ9" * 9 + "a"])
def test_an_id_is_found_at_the_begin_of_its_segment(object_id, name):
    assert leading_id(quote_segment(segment(object_id, name, ".png"))) == object_id


def test_an_id_asks_for_enough_randomness():
    asked = []

    def source(size: int) -> bytes:
        asked.append(size)
        return bytes(size)

    new_id(source)
    assert asked[0] * 8 >= 128
