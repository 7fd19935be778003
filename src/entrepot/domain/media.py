"""What a file is: from the type its sender declares, its name and its first bytes.

A declared type is believed and served as it came; the bytes decide what a browser may show in place.
"""

from __future__ import annotations

from dataclasses import dataclass

from entrepot.domain.mediatypes import (
    OCTET_STREAM,
    bare_type,
    charsets,
    extension_for,
    is_valid_type,
    type_for_name,
)
from entrepot.domain.sniffing import HEAD_SIZE, RECOGNISED, TAGGED, is_tagged, sniff

__all__ = ["HEAD_SIZE", "Verdict", "extension_for", "is_valid_type", "judge", "sniff", "type_for_name"]

# Types that share a container: the first bytes cannot tell them apart, or players take one for the other.
_CONTAINERS = {
    "image/apng": "image/png",
    "image/heif": "image/heic",
    "audio/mp4": "video/mp4",
    "video/quicktime": "video/mp4",
    "video/3gpp": "video/mp4",
    "video/3gpp2": "video/mp4",
    "audio/ogg": "video/ogg",
    "application/ogg": "video/ogg",
    "audio/webm": "video/webm",
    "audio/x-matroska": "video/webm",
    "video/x-matroska": "video/webm",
}
# What a browser shows without running any of it: raster images, sound, film. `text/plain` has its own rule.
_SHOWABLE = frozenset({
    "image/png", "image/apng", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp",
    "audio/mpeg", "audio/wav", "audio/ogg", "audio/flac", "audio/mp4", "audio/aac", "audio/webm",
    "video/mp4", "video/webm", "video/ogg", "video/quicktime",
})  # fmt: skip
# Other charsets, such as UTF-7, spell markup in ways that no look at the bytes sees.
_CHARSETS = frozenset({"utf-8", "us-ascii"})
_TEXTUAL = frozenset({
    "application/json", "application/jsonl", "application/x-ndjson", "application/yaml", "application/toml",
    "application/xml", "application/x-subrip", "application/vnd.apple.mpegurl",
})  # fmt: skip
# Formats that others are built on: such bytes speak against no name whose own format has no mark.
_ENVELOPES = frozenset({"text", "application/zip", "application/gzip", "application/zstd", "image/tiff"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is stored of a file's kind.

    `content_type` is what is served, `sniffed_type` what the bytes look like (None: unknown), `inline` whether
    a browser may show it in place; everything else is an attachment.
    """

    content_type: str
    sniffed_type: str | None
    inline: bool


def judge(declared: str | None, name: str, head: bytes) -> Verdict:
    """Decide on a file by its declared type, its name and its first `HEAD_SIZE` bytes (b"": it is empty).

    A declared type stays as it is spelled. When it is missing, unsound or says nothing (octet-stream), the
    name's extension decides unless the bytes contradict it, then the bytes.
    """
    sniffed, stated, by_name = sniff(head), _stated(declared), type_for_name(name)
    if is_tagged(head) and (told := bare_type(stated or by_name or "")) in TAGGED:
        sniffed = told  # the tag is all that is seen, and any of these may begin with one
    content_type = stated or _guess(by_name, sniffed)
    return Verdict(content_type, sniffed, _may_show(content_type, sniffed, empty=not head))


def _stated(declared: str | None) -> str | None:
    text = (declared or "").strip(" \t")
    return text if is_valid_type(text) and bare_type(text) != OCTET_STREAM else None


def _guess(by_name: str | None, sniffed: str | None) -> str:
    if by_name and not (sniffed and _contradicts(by_name, sniffed)):
        return by_name
    return sniffed or OCTET_STREAM


def _contradicts(by_name: str, sniffed: str) -> bool:
    """Whether bytes that look like `sniffed` cannot be a file of type `by_name`: then its name lies."""
    named, seen = _family(by_name), _family(sniffed)
    return named != seen and (named in _MARKED or seen not in _ENVELOPES)


def _may_show(content_type: str, sniffed: str | None, *, empty: bool) -> bool:
    bare = bare_type(content_type)
    if bare == "text/plain":
        return charsets(content_type) <= _CHARSETS and (empty or sniffed == bare)
    return bare in _SHOWABLE and sniffed is not None and _container(bare) == _container(sniffed)


def _container(content_type: str) -> str:
    bare = bare_type(content_type)
    return _CONTAINERS.get(bare, bare)


def _family(content_type: str) -> str:
    """The container, or 'text' for everything that is written in letters."""
    name = _container(content_type)
    is_text = name.startswith("text/") or name.endswith(("+xml", "+json")) or name in _TEXTUAL
    return "text" if is_text else name


_MARKED = frozenset(map(_family, RECOGNISED))
