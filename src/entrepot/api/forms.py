"""The file in a multipart/form-data body (RFC 7578), as a stream: what a browser, `curl -F` and the stock clients send.

Never more is held than the chunk that came and a boundary's length before it. All but the file is bounded, and what is
beyond a bound, or can be read in two ways, is refused before the file's stream ends: so it is never published. The name
that the form gives the file is told to the caller and means nothing here.
"""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from urllib.parse import unquote

from entrepot import wire
from entrepot.domain.errors import Code, Problem
from entrepot.domain.mediatypes import checked_type

MAX_HEAD = 8 * 1024  # bytes of one part's headers; clients send about 150
MAX_HEADERS = 8
MAX_PARTS = 16
MAX_OTHER = 64 * 1024  # bytes of all fields beside the file
MAX_EPILOGUE = 1024
MAX_AROUND = MAX_PARTS * (MAX_HEAD + 128) + MAX_OTHER + MAX_EPILOGUE  # bytes of a whole form beside its file

_FORM = "multipart/form-data"
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
_PARAMETER = re.compile(r';[ \t]*([^\s;="]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))[ \t]*')
_ENCODED_WORD = re.compile(r"=\?utf-8\?b\?([A-Za-z0-9+/=]*)\?=", re.IGNORECASE)
_NAME = re.compile(r"[!-9;-~]+")
_BREAK = re.compile(r"[\r\n\0]")
_ESCAPED = re.compile(r'\\(["\\])')
_PLAIN_ENCODINGS = ("", "binary", "8bit", "7bit")


@dataclass(frozen=True, slots=True)
class FilePart:
    """`stream` ends when the whole form was read and is in order; else it raises Problem(INVALID_REQUEST)."""

    file_name: str
    content_type: str | None
    stream: AsyncGenerator[bytes, None]


def is_form(content_type: str | None) -> bool:
    """Whether a body is a form, in order or not."""
    return (content_type or "").partition(";")[0].strip().lower() == _FORM


async def file_part(body: AsyncIterator[bytes], content_type: str | None) -> FilePart:
    """Read a form up to the first byte of the file in its field `file_upload`.

    Raises Problem: INVALID_REQUEST for what is no form or not in order, VALIDATION_FAILED when the field is not there
    or holds no file, or when its type is none.
    """
    form = _Form(body, _boundary(content_type))
    await form.begin()
    while head := await form.next_part():
        if head.name != wire.FORM_FILE:
            await form.skip()
        elif not head.file_name:
            raise _no_file("It is text, not a file: it has no file name.")
        else:
            return _file_part(head, form)
    raise _no_file("The form has no such field; it must hold the file.")


async def only_file(body: AsyncIterator[bytes], content_type: str | None) -> FilePart:
    """Read a form up to the first byte of its one file, whatever its field is called; fields of text are passed over.

    Raises Problem as `file_part` does; so does the file's stream when another file follows.
    """
    form = _Form(body, _boundary(content_type), one_file=True)
    await form.begin()
    while head := await form.next_part():
        if head.file_name:
            return _file_part(head, form)
        await form.skip()
    raise _bad("It holds no file: no field of it has a file name.")


def _file_part(head: _Head, form: _Form) -> FilePart:
    kind = checked_type(head.content_type, "body", head.name, "content-type")
    return FilePart(head.file_name or "", kind, form.file())


@dataclass(frozen=True, slots=True)
class _Head:
    """What the headers of a part say."""

    name: str
    file_name: str | None
    content_type: str | None


class _Form:
    """A form on its way in. The calls follow its grammar: begin, then for each part its head and its content."""

    def __init__(self, body: AsyncIterator[bytes], boundary: str, *, one_file: bool = False) -> None:
        """With `one_file` no other may follow it, in whatever field; else none in its own."""
        self._body = body
        self._one_file = one_file
        self._delimiter = b"\r\n--" + boundary.encode()
        self._held = b""
        self._parts = 0
        self._spare = MAX_OTHER

    async def begin(self) -> None:
        """Pass the first boundary. No client sends a preamble, so none is read through."""
        first = await self._take(2)
        opening = self._delimiter if first == b"\r\n" else self._delimiter[2:]
        if first + await self._take(len(opening) - 2) != opening:
            raise _bad("The body does not begin with the boundary that Content-Type names.")

    async def next_part(self) -> _Head | None:
        """The head of the part after this boundary; None when it was the last, and the body has ended."""
        mark = await self._take(2)
        if mark == b"--":
            await self._end()
            return None
        if mark != b"\r\n":
            raise _bad("A boundary is followed by something else than a line end.")
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise _bad(f"It has more than {MAX_PARTS} fields.")
        return _parsed(await self._head())

    async def skip(self) -> None:
        """Pass over the content of a field that is not the file."""
        async with contextlib.aclosing(self._content()) as pieces:
            async for piece in pieces:
                self._spare -= len(piece)
                if self._spare < 0:
                    raise _bad(f"The fields beside the file have more than {MAX_OTHER} bytes.")

    async def file(self) -> AsyncGenerator[bytes, None]:
        """The content of the file; then the rest of the form is read through."""
        async with contextlib.aclosing(self._content()) as pieces:
            async for piece in pieces:
                yield piece
        while head := await self.next_part():
            if self._one_file and head.file_name:
                raise _bad("It holds more than one file; send each in a request of its own.")
            if not self._one_file and head.name == wire.FORM_FILE:
                raise _bad(f"It has the field {wire.FORM_FILE} twice.")
            await self.skip()

    async def _content(self) -> AsyncGenerator[bytes, None]:
        """What comes before the next boundary, which is passed."""
        while True:
            end = self._held.find(self._delimiter)
            if end >= 0:
                piece, self._held = self._held[:end], self._held[end + len(self._delimiter) :]
                if piece:
                    yield piece
                return
            end = self._begun_boundary()
            piece, self._held = self._held[:end], self._held[end:]
            if piece:
                yield piece
            await self._fill()

    def _begun_boundary(self) -> int:
        """Where the held bytes may end in the beginning of a boundary; their length when they do not."""
        at = self._held.rfind(b"\r", max(0, len(self._held) - len(self._delimiter) + 1))
        return at if at >= 0 and self._delimiter.startswith(self._held[at:]) else len(self._held)

    async def _head(self) -> bytes:
        """The header lines of a part, without the empty one."""
        searched = 0
        while (end := self._held.find(b"\r\n\r\n", searched)) < 0 and len(self._held) <= MAX_HEAD:
            searched = max(0, len(self._held) - 3)
            await self._fill()
        if not 0 <= end <= MAX_HEAD:
            raise _bad(f"The headers of a field are longer than {MAX_HEAD} bytes.")
        head, self._held = self._held[:end], self._held[end + 4 :]
        return head

    async def _end(self) -> None:
        """Read what is after the last boundary: a line end, mostly."""
        after = len(self._held)
        while after <= MAX_EPILOGUE and (chunk := await anext(self._body, b"")):
            after += len(chunk)
        if after > MAX_EPILOGUE:
            raise _bad("The body goes on after the form's end.")

    async def _take(self, size: int) -> bytes:
        while len(self._held) < size:
            await self._fill()
        taken, self._held = self._held[:size], self._held[size:]
        return taken

    async def _fill(self) -> None:
        chunk = await anext(self._body, b"")
        if not chunk:
            raise _bad("The body ends before the form does.")
        self._held = self._held + chunk if self._held else chunk


def _parsed(raw: bytes) -> _Head:
    """The headers of a part. Raises Problem(INVALID_REQUEST)."""
    lines = raw.decode("utf-8", "replace").split("\r\n")
    if len(lines) > MAX_HEADERS:
        raise _bad(f"A field has more than {MAX_HEADERS} headers.")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.lower()
        if not colon or not _NAME.fullmatch(name) or name in headers or _BREAK.search(line):
            raise _bad("A header of a field is not in order, or comes twice.")
        headers[name] = value.strip(" \t")
    _check_plain(headers)
    kind, parameters = _parameters(headers.get("content-disposition", ""))
    if kind != "form-data" or "name" not in parameters:
        raise _bad("A part is no field of a form: its Content-Disposition is not form-data with a name.")
    if any("*" in name and name != "filename*" for name in parameters):
        raise _bad("A Content-Disposition has a parameter in pieces or encoded; send it plain.")
    return _Head(parameters["name"], _file_name(parameters), headers.get("content-type"))


def _check_plain(headers: dict[str, str]) -> None:
    """An encoded or nested part would be stored as it stands, which nobody means."""
    if headers.get("content-transfer-encoding", "").lower() not in _PLAIN_ENCODINGS:
        raise _bad("A Content-Transfer-Encoding is not taken; send the bytes as they are.")
    if headers.get("content-type", "").lower().startswith("multipart/"):
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
