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
ID_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"  # in the order of ASCII
ID_LENGTH = 22  # 62 ** 22 > 2 ** 130: at least 128 random bits
TIME_LENGTH = 6  # 62 ** 6 seconds are 1,800 years
_NO_ID = re.compile(f"[^{ID_ALPHABET}]")


def new_id(random: Callable[[int], bytes]) -> str:
    """A fresh id of 22 letters and digits (more than 128 random bits), safe in any URL, file name and shell."""
    return _digits(int.from_bytes(random(24), "big"), ID_LENGTH)


def new_timed_id(now: float, random: Callable[[int], bytes]) -> str:
    """An id for rows that come by the million: 6 letters and digits of the second, then a random id of 22.

    Sorted by their ids rows are sorted by time, so that an index takes new ones at its end (docs/performance.md).
    """
    return _digits(int(now), TIME_LENGTH) + new_id(random)


def _digits(number: int, length: int) -> str:
    """The lowest digits of a number to base 62, highest first."""
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(ID_ALPHABET[digit])
    return "".join(reversed(digits))


def leading_id(text: str) -> str:
    """The id, of either length, that the last segment of an object's URL begins with (`segment`)."""
    return _NO_ID.split(text, 1)[0]


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
