"""The form reader: any chunking gives the same file, little is held, and what is odd or hostile is refused early."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from types import FrameType

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from entrepot.api import forms
from entrepot.api.forms import file_part
from entrepot.domain.errors import Code, Problem

TYPE = "multipart/form-data; boundary=bound"
FILE = 'Content-Disposition: form-data; name="file_upload"; filename="a.bin"'
FIELD = 'Content-Disposition: form-data; name="other"'


def part(data: bytes, *headers: str) -> bytes:
    return b"\r\n--bound\r\n" + "\r\n".join(headers or (FILE,)).encode() + b"\r\n\r\n" + data


def form(*parts: bytes) -> bytes:
    return b"".join(parts)[2:] + b"\r\n--bound--\r\n"


async def read_all(chunks: Iterable[bytes], content_type: str | None) -> tuple[bytes, str, str | None]:
    async def body() -> AsyncIterator[bytes]:
        for chunk in chunks:
            if chunk:
                yield chunk

    found = await file_part(body(), content_type)
    data = b"".join([piece async for piece in found.stream])
    return data, found.file_name, found.content_type


def read(*chunks: bytes, content_type: str | None = TYPE) -> tuple[bytes, str, str | None]:
    return asyncio.run(read_all(chunks, content_type))


def refusal(*chunks: bytes, content_type: str | None = TYPE) -> Problem:
    with pytest.raises(Problem) as caught:
        read(*chunks, content_type=content_type)
    return caught.value


def cut(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    at = 0
    for size in sizes:
        yield data[at : at + size]
        at += size
    yield data[at:]


# Bytes that look like the beginning of the boundary again and again.
contents = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"-", b"--", b"--bound", b"\r\n--boun", b"\r\n-", b"x", b"\0"])
    | st.binary()
).map(b"".join)


@given(contents.filter(lambda data: b"\r\n--bound" not in b"\r\n" + data), st.lists(st.integers(0, 12)))
@example(b"", [])
@example(b"\r", [1] * 200)
@example(b"\r\n--boun", [1] * 200)
def test_the_file_is_the_same_however_the_body_is_cut(data: bytes, sizes: list[int]) -> None:
    body = form(part(b"text", FIELD), part(data, FILE, "Content-Type: image/png"), part(b"", FIELD))
    assert read(*cut(body, sizes)) == (data, "a.bin", "image/png")


@given(contents, st.lists(st.integers(0, 12)), st.integers(0))
def test_a_form_that_ends_early_never_gives_a_file(data: bytes, sizes: list[int], end: int) -> None:
    body = form(part(data))
    short = body[: end % (len(body) - 3)]  # up to the last dash before the final line end
    assert refusal(*cut(short, sizes)).code in (Code.INVALID_REQUEST, Code.VALIDATION_FAILED)


def test_pieces_are_handed_on_as_they_come_without_being_gathered() -> None:
    chunk = b"\r" * 70_000
    body = [form(part(b""))[:-13], *[chunk] * 50, b"\r\n--bound--\r\n"]

    async def largest() -> int:
        async def chunks() -> AsyncIterator[bytes]:
            for each in body:
                yield each

        found = await file_part(chunks(), TYPE)
        return max([len(piece) async for piece in found.stream])

    assert asyncio.run(largest()) <= len(chunk) + len("\r\n--bound")


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data; boundary=bound",
        'Multipart/Form-Data;BOUNDARY="bound"',
        "multipart/form-data; charset=utf-8; boundary=bound;",
    ],
)
def test_spellings_of_the_content_type(content_type: str) -> None:
    assert read(form(part(b"x")), content_type=content_type)[0] == b"x"


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "application/json",
        "multipart/mixed; boundary=bound",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=bound; boundary=other",
        "multipart/form-data; boundary=" + "b" * 71,
        'multipart/form-data; boundary="bound "',
        "multipart/form-data; boundary=b\xe4",
        "multipart/form-data" + '; x="\\' * 100_000,
    ],
    ids=range(11),
)
def test_a26_what_names_no_boundary_is_refused(content_type: str | None) -> None:
    told = refusal(form(part(b"x")), content_type=content_type)
    assert told.code is Code.INVALID_REQUEST
    assert "curl -F file_upload=@FILE" in told.fix


def test_a_boundary_of_70_characters_is_taken() -> None:
    boundary = "'()+_,-./:=? b" * 5
    body = form(part(b"x")).replace(b"bound", boundary.encode())
    assert read(body, content_type=f'multipart/form-data; boundary="{boundary}"')[0] == b"x"


ODD = {
    "a preamble": b"x\r\n" + form(part(b"x")),
    "another boundary": form(part(b"x")).replace(b"bound", b"bount"),
    "no boundary at all": b"x" * 100,
    "text after a boundary": form(part(b"x")).replace(b"--bound\r\n", b"--bound \r\n", 1),
    "100,000 headers": form(part(b"x", FILE, *["X-A: b"] * 100_000)),
    "nine short headers": form(part(b"x", FILE, *[f"X-{n}: b" for n in range(8)])),
    "an endless header": form(part(b"x", FILE, "X-A: " + "b" * 100_000)),
    "a header twice": form(part(b"x", FILE, FILE)),
    "a continued header": form(part(b"x", FILE, " and more")),
    "a header without a colon": form(part(b"x", FILE, "nothing")),
    "a bare line feed in a header": form(part(b"x", FILE + "\nX-A: b")),
    "no headers": form(part(b"x", "")),
    "no disposition": form(part(b"x", "Content-Type: image/png")),
    "another disposition": form(part(b"x", FILE.replace("form-data", "attachment"))),
    "no name": form(part(b"x", 'Content-Disposition: form-data; filename="a"')),
    "a nested form": form(part(b"x", FILE, "Content-Type: multipart/mixed; boundary=b")),
    "an encoded part": form(part(b"x", FILE, "Content-Transfer-Encoding: base64")),
    "two names of the file": form(part(b"x", FILE + '; filename="b"')),
    "two names of the field": form(part(b"x", FILE + '; name="other"')),
    "a name that goes on": form(part(b"x", FILE + "; filename*0=\"b\"")),
    "another name encoded": form(part(b"x", FILE + "; filename*=UTF-8''b.html")),
    "a name in another charset": form(part(b"x", FILE + "; filename*=latin-1''a.bin")),
    "a name encoded in no known way": form(part(b"x", FILE + "; filename*=a.bin")),
    "an encoded name of the field": form(part(b"x", FILE + "; name*=UTF-8''other")),
    "an open quote": form(part(b"x", FILE[:-1])),
    "the file twice": form(part(b"x"), part(b"x")),
    "seventeen fields": form(*[part(b"", FIELD) for _ in range(16)], part(b"x")),
    "large other fields": form(part(b"x" * 40_000, FIELD), part(b"x"), part(b"x" * 40_000, FIELD)),
    "a long epilogue": form(part(b"x")) + b"\0" * 2000,
    "a boundary that goes on": form(part(b"x\r\n--boundary")),
}  # fmt: skip


@pytest.mark.parametrize("body", ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize("size", [1 << 30, 7])
def test_a26_an_odd_form_is_refused_with_400_and_a_fix(body: bytes, size: int) -> None:
    told = refusal(*(body[at : at + size] for at in range(0, min(len(body), 200_000), size)))
    assert told.code is Code.INVALID_REQUEST
    assert told.message.startswith("The form cannot be read.")


@pytest.mark.parametrize(
    ("start", "filler"),
    [
        (b"", b"x" * 1000),
        (form(part(b"x", FILE))[: -len(b"\r\n\r\nx\r\n--bound--\r\n")], b"\r\nX-A: b" * 100),
        (form(part(b"", FIELD))[: -len(b"\r\n--bound--\r\n")], b"x" * 1000),
        (form(part(b"x")), b"x" * 1000),
    ],
    ids=["preamble", "headers", "another field", "epilogue"],
)
def test_a26_what_never_ends_is_not_read_on(start: bytes, filler: bytes) -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        yield start
        while True:
            taken += len(filler)
            assert taken < 100_000
            yield filler

    with pytest.raises(Problem):
        asyncio.run(read_all(endless(), TYPE))


@pytest.mark.parametrize("headers", [(FIELD,), (FIELD.replace("other", "file_upload"),), (FILE.replace("a.bin", ""),)])
def test_a_form_without_the_file_is_a_field_error(headers: tuple[str, ...]) -> None:
    told = refusal(form(part(b"path.txt", *headers)))
    assert (told.code, told.where) == (Code.VALIDATION_FAILED, ("body", "file_upload"))


def test_an_empty_form_is_a_field_error() -> None:
    assert refusal(b"--bound--\r\n").code is Code.VALIDATION_FAILED


NAMES = {
    'filename="a b;c.bin"': "a b;c.bin",
    r'filename="say \"hi\".txt"': 'say "hi".txt',
    r'filename="C:\temp\a.bin"': r"C:\temp\a.bin",
    "filename=../../etc/passwd": "../../etc/passwd",
    'filename="café.png"': "café.png",
    "filename=a.bin; filename*=utf-8''a.bin": "a.bin",
    "filename=\"=?utf-8?B?Y2Fmw6k=?=\"; filename*=utf-8''caf%C3%A9": "café",
    "filename*=UTF-8''caf%C3%A9": "café",
}


@pytest.mark.parametrize(("spelled", "name"), NAMES.items(), ids=range(len(NAMES)))
def test_the_name_is_told_as_the_client_gave_it(spelled: str, name: str) -> None:
    assert read(form(part(b"x", f"content-disposition: form-data; name=file_upload; {spelled}"))) == (b"x", name, None)


def test_a_leading_line_end_and_a_missing_last_one_are_taken() -> None:
    assert read(b"\r\n" + form(part(b"x")))[0] == b"x"
    assert read(form(part(b"x"))[:-2])[0] == b"x"


def test_a26_a_hostile_form_costs_few_operations() -> None:
    """Counted, not timed: a form of one-byte chunks calls no function of the reader more than a few times a byte."""
    body = form(part(b"\r\n--boun" * 500))
    calls = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal calls
        calls += event == "call" and frame.f_code.co_filename == forms.__file__

    sys.setprofile(count)
    try:
        read(*(body[at : at + 1] for at in range(len(body))))
    finally:
        sys.setprofile(None)
    assert calls < 10 * len(body)
