"""The file in a multipart/form-data body (RFC 7578), as a stream: what a browser, `curl -F` and the stock clients send.

The body is parsed chunk by chunk and never gathered. All but the file is bounded. Whatever exceeds a bound, or could be
read in two ways, is refused before the file's stream ends, so it is never published. The file name in the form is
passed to the caller and has no meaning here.
"""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from urllib.parse import unquote

from multipart import MultipartError, MultipartSegment, PushMultipartParser

from entrepot import wire
from entrepot.domain.errors import Code, Problem
from entrepot.domain.mediatypes import checked_type

MAX_HEADER = 8 * 1024  # bytes of one header line; clients send about 100
MAX_HEADERS = 8
MAX_FIELDS = 16
MAX_EPILOGUE = 1024
MAX_AROUND = 72 * 1024  # bytes of a whole form beside its file: boundaries, headers, other fields, epilogue

_FORM = "multipart/form-data"
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
_PARAMETER = re.compile(r';[ \t]*([^\s;="]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))[ \t]*')
_ENCODED_WORD = re.compile(r"=\?utf-8\?b\?([A-Za-z0-9+/=]*)\?=", re.IGNORECASE)
_LINE_BREAK = re.compile(r"[\r\n\0]")
_ESCAPED = re.compile(r'\\(["\\])')
_PLAIN_ENCODINGS = ("", "binary", "8bit", "7bit")


@dataclass(frozen=True, slots=True)
class FilePart:
    """`stream` ends when the whole form was read and is valid; else it raises Problem(INVALID_REQUEST)."""

    file_name: str
    content_type: str | None
    stream: AsyncGenerator[bytes, None]


def is_form(content_type: str | None) -> bool:
    """Whether a body is a form, valid or not."""
    return (content_type or "").partition(";")[0].strip().lower() == _FORM


async def file_part(body: AsyncIterator[bytes], content_type: str | None) -> FilePart:
    """Read a form up to the first byte of the file in its field `file_upload`.

    Raises Problem: INVALID_REQUEST for a body that is no valid form, VALIDATION_FAILED when the field is missing or
    holds no file, or when its content type is invalid.
    """
    form = _Form(body, _boundary(content_type))
    while field := await form.next_field():
        if field.name == wire.FORM_FILE:
            if not field.file_name:
                raise _no_file("It is text, not a file: it has no file name.")
            return _file_part(field, form)
    raise _no_file("The form has no such field; it must hold the file.")


async def only_file(body: AsyncIterator[bytes], content_type: str | None) -> FilePart:
    """Read a form up to the first byte of its one file, whatever its field is called; text fields are ignored.

    Raises Problem as `file_part` does; so does the file's stream when another file follows.
    """
    form = _Form(body, _boundary(content_type), one_file=True)
    while field := await form.next_field():
        if field.file_name:
            return _file_part(field, form)
    raise _bad("It holds no file: no field of it has a file name.")


def _file_part(field: _Field, form: _Form) -> FilePart:
    kind = checked_type(field.content_type, "body", field.name, "content-type")
    return FilePart(field.file_name or "", kind, form.file())


@dataclass(frozen=True, slots=True)
class _Field:
    """The headers of a field."""

    name: str
    file_name: str | None
    content_type: str | None


class _Form:
    """A form whose fields are read in turn."""

    def __init__(self, body: AsyncIterator[bytes], boundary: str, *, one_file: bool = False) -> None:
        """With `one_file` no other file may follow the one that is read; else none in a field of the same name."""
        self._one_file = one_file
        self._in_file = False
        self._events = self._parse(body, boundary.encode())

    async def next_field(self) -> _Field | None:
        """The next field, past the content of the one before; None at the end of the form."""
        async for event in self._events:
            if isinstance(event, MultipartSegment):
                return _field(event)
        return None

    async def file(self) -> AsyncGenerator[bytes, None]:
        """The content of the field that `next_field` gave; then the rest of the form is read and checked."""
        async with contextlib.aclosing(self._events):
            self._in_file = True
            async for event in self._events:
                if event is None:
                    break
                yield event
            self._in_file = False
            while field := await self.next_field():
                if self._one_file and field.file_name:
                    raise _bad("It holds more than one file; send each in a request of its own.")
                if not self._one_file and field.name == wire.FORM_FILE:
                    raise _bad(f"It has the field {wire.FORM_FILE} twice.")

    async def _parse(
        self, body: AsyncIterator[bytes], boundary: bytes
    ) -> AsyncGenerator[MultipartSegment | bytes | None]:
        """The parser's events: for each field its segment, its content, and None at its end."""
        # Headers are decoded by `_field`. Not strict: that refuses a line end after the form in a chunk of its own.
        parser = PushMultipartParser(
            boundary,
            max_header_size=MAX_HEADER,
            max_header_count=MAX_HEADERS,
            max_segment_count=MAX_FIELDS,
            header_charset="latin-1",
        )
        opening, closing = b"--" + boundary, b"\r\n--" + boundary + b"--"
        chunk = b""
        while len(chunk) < len(closing) and (more := await anext(body, b"")):
            chunk += more
        if not chunk.startswith((opening, b"\r\n" + opening)):
            raise _bad("The body does not begin with the boundary that Content-Type names.")
        around, end = 0, b"\r\n"
        try:
            while chunk:
                around += len(chunk)
                end = (end + chunk[-MAX_EPILOGUE - len(closing) :])[-MAX_EPILOGUE - len(closing) :]
                for event in parser.parse(chunk):
                    if self._in_file and event is not None:
                        around -= len(event)
                    yield event
                if around > MAX_AROUND:
                    raise _bad(f"It has more than {MAX_AROUND} bytes beside its file.")
                chunk = await anext(body, b"")
            parser.close()
        except MultipartError as error:
            raise _bad(f"{error}.") from None
        if closing not in end:
            raise _bad("The body goes on after the form's end.")


def _field(segment: MultipartSegment) -> _Field:
    """The headers of a field, which the parser decoded as Latin-1. Raises Problem(INVALID_REQUEST)."""
    headers: dict[str, str] = {}
    for name, value in segment.headerlist:
        if name in headers or _LINE_BREAK.search(value):
            raise _bad("A header of a field comes twice, or has a line break in it.")
        headers[name] = value.strip(" \t").encode("latin-1").decode("utf-8", "replace")
    _check_plain(headers)
    kind, parameters = _parameters(headers.get("Content-Disposition", ""))
    if kind != "form-data" or "name" not in parameters:
        raise _bad("A part is no field of a form: its Content-Disposition is not form-data with a name.")
    if any("*" in name and name != "filename*" for name in parameters):
        raise _bad("A Content-Disposition has a parameter in pieces or encoded; send it plain.")
    return _Field(parameters["name"], _file_name(parameters), headers.get("Content-Type"))


def _check_plain(headers: dict[str, str]) -> None:
    """An encoded or nested part would be stored as it stands, which nobody means."""
    if headers.get("Content-Transfer-Encoding", "").lower() not in _PLAIN_ENCODINGS:
        raise _bad("A Content-Transfer-Encoding is not taken; send the bytes as they are.")
    if headers.get("Content-Type", "").lower().startswith("multipart/"):
        raise _bad("A form within the form is not taken; send each file by itself.")


def _parameters(header: str) -> tuple[str, dict[str, str]]:
    """Read `kind; name="..."; name=...`, each name once. Raises Problem(INVALID_REQUEST)."""
    kind = header.partition(";")[0]
    found: dict[str, str] = {}
    header, at = header.rstrip("; \t"), len(kind)
    while at < len(header):
        match = _PARAMETER.match(header, at)
        if match is None or match[1].lower() in found:
            raise _bad("Its Content-Type or a Content-Disposition has a parameter that is not in order, or twice.")
        found[match[1].lower()] = match[3] if match[2] is None else _ESCAPED.sub(r"\1", match[2])
        at = match.end()
    return kind.strip().lower(), found


def _file_name(parameters: dict[str, str]) -> str | None:
    """The file's name. Some clients add `filename*` (RFC 8187), which must say the same: of two names somebody on the
    way may have looked at the other one."""
    plain, encoded = parameters.get("filename"), parameters.get("filename*")
    if encoded is None:
        return plain
    charset, _, rest = encoded.partition("'")
    name = unquote(rest.partition("'")[2], errors="replace")
    if charset.lower() != "utf-8" or not name or (plain is not None and name not in (plain, _from_word(plain))):
        raise _bad("filename* is not UTF-8''<percent-encoded>, or differs from filename; send filename alone.")
    return name


def _from_word(text: str) -> str:
    """What an encoded word (RFC 2047) stands for: .NET writes names so that are not ASCII."""
    match = _ENCODED_WORD.fullmatch(text)
    try:
        return base64.b64decode(match[1]).decode() if match else text
    except ValueError:
        return text


def _boundary(content_type: str | None) -> str:
    """The boundary of a form's Content-Type. Raises Problem(INVALID_REQUEST)."""
    kind, parameters = _parameters(content_type or "")
    if kind != _FORM:
        raise _bad("The Content-Type is not multipart/form-data.")
    boundary = parameters.get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise _bad("The Content-Type must name a boundary of 1 to 70 plain characters.")
    return boundary


_FIX = (
    f"Send one file as the field {wire.FORM_FILE} of a form (curl -F {wire.FORM_FILE}=@FILE), or its bytes alone where "
    "they are taken (curl --data-binary @FILE)."
)


def _bad(message: str) -> Problem:
    return Problem(Code.INVALID_REQUEST, f"The form cannot be read. {message}", fix=_FIX)


def _no_file(message: str) -> Problem:
    return Problem(Code.VALIDATION_FAILED, message, where=("body", wire.FORM_FILE), fix=_FIX)
