"""File names and the URL segment made of them.

A name is cosmetic on the CDN: it never becomes a path on our disk. It ends the URL because people and stock clients
take name and type from there (docs/protocol.md C12).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from itertools import accumulate
from urllib.parse import quote

MAX_NAME_BYTES = 180
MAX_EXTENSION_BYTES = 32
FILE_NAME_BYTES = 255  # that file systems take
# The stock `download_file` names its file by the URL's end without decoding it.
MAX_SEGMENT_LENGTH = FILE_NAME_BYTES
_EXTENSION = re.compile(r"(?:\.tar)?\.[^.]+\Z", re.IGNORECASE)
# What a cut does not split: a letter and its accents, an escaped byte of a URL, an escaped letter of UTF-8.
_UNIT = re.compile(
    r"%[CDcd][0-9A-Fa-f]%[89ABab][0-9A-Fa-f]|%[Ee][0-9A-Fa-f](?:%[89ABab][0-9A-Fa-f]){2}"
    r"|%[Ff][0-9A-Fa-f](?:%[89ABab][0-9A-Fa-f]){3}|%[0-9A-Fa-f]{2}|.[\u0300-\u036f\u20d0-\u20ff\ufe00-\ufe0f]*",
    re.DOTALL,
)
ID_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ID_LENGTH = 22  # 62 ** 22 > 2 ** 130: at least 128 random bits


def new_id(random: Callable[[int], bytes]) -> str:
    """A fresh id of 22 letters and digits (more than 128 random bits), safe in any URL, file name and shell."""
    number = int.from_bytes(random(24), "big")
    digits = []
    for _ in range(ID_LENGTH):
        number, digit = divmod(number, 62)
        digits.append(ID_ALPHABET[digit])
    return "".join(digits)


def has_control_characters(text: str) -> bool:
    """Whether a name has one of the 65 control characters of Unicode (category Cc): C0, DEL and C1. Line ends, escape
    sequences of terminals and NUL are among them."""
    return any(unicodedata.category(letter) == "Cc" for letter in text)


def clean_name(raw: str | None) -> str:
    """Return the last component of a name as given, without control characters, short enough; '' when none is left.

    Both slashes separate. Bidirectional and other format characters go too: they make a name look like another one.
    """
    if not raw:
        return ""
    last = raw.replace("\\", "/").rstrip("/").rpartition("/")[2]
    kept = "".join(c for c in last if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp")).strip()
    name = shorten(kept).rstrip()
    return name if name.strip(". ") else ""


def shorten(name: str, size: int = MAX_NAME_BYTES, mark: str = "") -> str:
    """Cut the middle so that the name fits `size` bytes of UTF-8 and keeps its extension (`.tar.gz` is one). `mark` is
    put before the extension, whether or not there is something to cut."""
    return _fit(name, size, _utf8_length, mark)


def _fit(name: str, size: int, cost: Callable[[str], int], mark: str = "") -> str:
    if not mark and cost(name) <= size:
        return name
    match = _EXTENSION.search(name)
    ending = mark + (match[0] if match and _utf8_length(match[0]) <= MAX_EXTENSION_BYTES + 1 else "")
    room = size - cost(ending)
    units = _UNIT.findall(name.removesuffix(ending.removeprefix(mark)))
    return "".join(units[: sum(used <= room for used in accumulate(map(cost, units)))]) + ending


def _utf8_length(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def segment(object_id: str, name: str, extension: str) -> str:
    """The last segment of the URL, not yet percent-encoded: `<id>_<name>`, or `<id><.ext>` without a name.

    Encoded it has at most `MAX_SEGMENT_LENGTH` characters: a name in another script is cut harder here.
    """
    room = MAX_SEGMENT_LENGTH - len(object_id) - 1
    return f"{object_id}_{_fit(name, room, _quoted_length)}" if name else f"{object_id}{extension}"


def _quoted_length(text: str) -> int:
    return len(quote_segment(text))


def quote_segment(text: str) -> str:
    """Percent-encode one path segment to ASCII. Reserved characters are encoded too: shells and clients cut at them."""
    return quote(text, safe="", errors="replace")
