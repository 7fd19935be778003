"""Media types as words: how they are spelled, and which file extensions mean them.

The table is our own: the host's `mimetypes` database differs from machine to machine, and on a bare Python
3.11 it knows no WebP, no glTF and no FLAC.
"""

from __future__ import annotations

import re

from entrepot.domain.errors import Code, Problem

OCTET_STREAM = "application/octet-stream"
MAX_TYPE_LENGTH = 255

# A type, then the extensions that mean it, the usual one first.
_TABLE = """
application/octet-stream    bin ckpt pt pth pkl splat ksplat dat
image/png                   png
image/apng                  apng
image/jpeg                  jpg jpeg jpe jfif
image/gif                   gif
image/webp                  webp
image/avif                  avif
image/heic                  heic
image/heif                  heif
image/jxl                   jxl
image/jp2                   jp2
image/bmp                   bmp dib
image/tiff                  tiff tif
image/x-icon                ico
image/svg+xml               svg
image/x-exr                 exr
image/vnd.radiance          hdr
image/vnd.adobe.photoshop   psd
image/vnd.ms-dds            dds
image/ktx2                  ktx2
image/qoi                   qoi
image/x-tga                 tga
image/x-portable-anymap     pnm pbm pgm ppm
image/x-adobe-dng           dng
image/x-canon-cr3           cr3
audio/mpeg                  mp3
audio/wav                   wav
audio/ogg                   ogg oga opus spx
audio/flac                  flac
audio/mp4                   m4a m4b
audio/aac                   aac
audio/webm                  weba
audio/aiff                  aiff aif aifc
audio/midi                  mid midi
audio/amr                   amr
audio/x-matroska            mka
audio/x-ms-wma              wma
video/mp4                   mp4
video/webm                  webm
video/ogg                   ogv
video/quicktime             mov qt
video/x-m4v                 m4v
video/x-matroska            mkv
video/x-msvideo             avi
video/x-flv                 flv
video/x-ms-wmv              wmv
video/mpeg                  mpg mpeg
video/mp2t                  ts m2ts mts
video/3gpp                  3gp
video/3gpp2                 3g2
application/vnd.apple.mpegurl  m3u8
application/dash+xml        mpd
application/x-subrip        srt
text/vtt                    vtt
model/gltf-binary           glb
model/gltf+json             gltf
model/vnd.usdz+zip          usdz
model/vnd.usd               usd usdc usda
model/obj                   obj
model/mtl                   mtl
model/ply                   ply
model/stl                   stl
model/3mf                   3mf
model/vnd.collada+xml       dae
application/x-fbx           fbx
application/x-blender       blend
application/x-safetensors   safetensors
application/x-gguf          gguf
application/x-onnx          onnx
application/x-tflite        tflite
application/x-npy           npy
application/x-npz           npz
application/x-hdf5          h5 hdf5
application/vnd.apache.parquet  parquet
application/vnd.apache.arrow.file  arrow feather
application/x-msgpack       msgpack
application/json            json
application/jsonl           jsonl
application/x-ndjson        ndjson
application/geo+json        geojson
application/x-ipynb+json    ipynb
application/yaml            yaml yml
application/toml            toml
application/xml             xml xsl
application/xhtml+xml       xhtml
application/wasm            wasm
application/pdf             pdf
application/epub+zip        epub
application/rtf             rtf
application/msword          doc
application/vnd.ms-excel    xls
application/vnd.ms-powerpoint  ppt
application/vnd.openxmlformats-officedocument.wordprocessingml.document    docx
application/vnd.openxmlformats-officedocument.spreadsheetml.sheet          xlsx
application/vnd.openxmlformats-officedocument.presentationml.presentation  pptx
text/plain                  txt text log
text/html                   html htm
text/css                    css
text/javascript             js mjs
text/markdown               md markdown
text/csv                    csv
text/tab-separated-values   tsv
text/x-python               py
application/zip             zip whl
application/x-tar           tar
application/gzip            gz tgz
application/zstd            zst tzst
application/x-bzip2         bz2 tbz2
application/x-xz            xz txz
application/x-7z-compressed 7z
application/vnd.rar         rar
application/java-archive    jar
font/ttf                    ttf
font/otf                    otf
font/woff                   woff
font/woff2                  woff2
"""
_ROWS = [line.split() for line in _TABLE.strip().splitlines()]
_TYPE_OF = {extension: row[0] for row in _ROWS for extension in row[1:]}
_EXTENSION_OF = {row[0]: f".{row[1]}" for row in _ROWS}

# Other spellings of one type.
_SYNONYMS = {
    "binary/octet-stream": OCTET_STREAM,
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "image/x-ms-bmp": "image/bmp",
    "image/vnd.microsoft.icon": "image/x-icon",
    "image/x-hdr": "image/vnd.radiance",
    "audio/mp3": "audio/mpeg",
    "audio/x-mp3": "audio/mpeg",
    "audio/x-mpeg": "audio/mpeg",
    "audio/wave": "audio/wav",
    "audio/x-wav": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "audio/x-pn-wav": "audio/wav",
    "audio/x-flac": "audio/flac",
    "audio/x-aac": "audio/aac",
    "audio/aacp": "audio/aac",
    "audio/m4a": "audio/mp4",
    "audio/x-m4a": "audio/mp4",
    "audio/opus": "audio/ogg",
    "audio/x-aiff": "audio/aiff",
    "video/x-m4v": "video/mp4",
    "video/matroska": "video/x-matroska",
    "audio/matroska": "audio/x-matroska",
    "video/avi": "video/x-msvideo",
    "text/xml": "application/xml",
    "application/x-javascript": "text/javascript",
    "application/javascript": "text/javascript",
    "application/x-yaml": "application/yaml",
    "text/yaml": "application/yaml",
    "application/x-gzip": "application/gzip",
    "application/x-zip-compressed": "application/zip",
}

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_VALUE = rf"(?:{_TOKEN}|\"(?:[ !#-\[\]-~]|\\[ -~])*+\")"
# Possessive, so that a long run of blanks and semicolons is read once.
_MEDIA_TYPE = re.compile(rf"{_TOKEN}/{_TOKEN}(?: *+; *+(?:{_TOKEN}={_VALUE})?+)*+")
_PARAMETER = re.compile(rf"; *+({_TOKEN})=({_VALUE})")


def is_valid_type(value: str) -> bool:
    """Whether this is a media type of RFC 9110 section 8.3.1: ASCII, at most 255 characters, no tabs."""
    return len(value) <= MAX_TYPE_LENGTH and _MEDIA_TYPE.fullmatch(value) is not None


def checked_type(value: str | None, *where: str) -> str | None:
    """A type as somebody declared it; None and an empty one declare nothing. Raises Problem(VALIDATION_FAILED) that
    names `where`: a type that is passed over costs the sender its meaning in silence."""
    if value and not is_valid_type(value):
        raise Problem(Code.VALIDATION_FAILED, "It is not a media type such as image/png.", where=where)
    return value or None


def bare_type(value: str) -> str:
    """The type without parameters, in lower case and its usual spelling: `audio/wav` for `Audio/X-WAV`."""
    bare = _without_parameters(value)
    return _SYNONYMS.get(bare, bare)


def charsets(value: str) -> set[str]:
    """Every charset that the parameters of a sound type name, in lower case; more than one is an attack."""
    return {text.strip('"').lower() for name, text in _PARAMETER.findall(value) if name.lower() == "charset"}


def type_for_name(name: str) -> str | None:
    """The type that the extension of `name` means, or None; the letters' case does not matter."""
    return _TYPE_OF.get(name.rpartition(".")[2].lower()) if "." in name else None


def extension_for(content_type: str) -> str:
    """The usual extension with its dot, '' when none is known: '.jpg' for `image/jpeg`."""
    exact = _EXTENSION_OF.get(_without_parameters(content_type))
    return exact or _EXTENSION_OF.get(bare_type(content_type), "")


def _without_parameters(value: str) -> str:
    return value.partition(";")[0].strip().lower()
