"""An output on its way out: its bytes, and what they are called."""

from __future__ import annotations

import secrets

from entrepot.domain.media import is_valid_type, judge
from entrepot.domain.mediatypes import extension_for
from entrepot.domain.names import clean_name, new_id
from entrepot.domain.sniffing import HEAD_SIZE


class FileData:
    """`data` with a type and a name that are always there.

    The type is the one that is given, else what name and first bytes say; a name that is missing is made of a new id
    and the type's usual extension (`.bin` when there is none). Raises ValueError for what is no media type, TypeError
    for what is no bytes.
    """

    def __init__(self, data: bytes, content_type: str | None = None, file_name: str | None = None) -> None:
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"A file is made of bytes, not of {type(data).__name__}")
        self.data = bytes(data)
        self.content_type, self.file_name = told(content_type, file_name, self.data[:HEAD_SIZE])


def told(content_type: str | None, file_name: str | None, head: bytes) -> tuple[str, str]:
    """Type and name of a file by what is given and by its first bytes. Raises ValueError for what is no media type."""
    if content_type is not None and not is_valid_type(content_type):
        raise ValueError(f"{content_type!r} is not a media type such as image/png")
    name = clean_name(file_name)
    kind = content_type or judge(None, name, head).content_type
    return kind, name or new_id(secrets.token_bytes) + (extension_for(kind) or ".bin")
