"""A client that openapi-python-client makes of the published document: nothing is left out, and its calls work."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.server import Server
from support.talk import Talk

BIN = Path(__file__).parents[2] / ".venv-peers" / "bin"

CALLS = """
import hashlib, io, sys
from made import AuthenticatedClient
from made.api.files import read_file
from made.api.storage import (
    complete_multipart_upload, create_multipart_upload, initiate_upload, put_file, put_part, upload_file,
)
from made.api.volume import (
    delete_volume_file, put_volume_file, serverless_download_file, serverless_list_directory, stat_volume_file,
)
from made.models import CompleteMultipart, InitiateUploadRequest, ListedPart
from made.types import File

url, key = sys.argv[1:]
client = AuthenticatedClient(url, key, prefix="Key", raise_on_unexpected_status=True)
data = bytes(range(256)) * 40

def body(some=data):
    return File(payload=io.BytesIO(some))

def bytes_at(address):
    store, name = address.split("?")[0].split("/")[-2:]
    return read_file.sync(store, name, client=client).payload.read()

sent = upload_file.sync(client=client, body=body(), x_fal_file_name="a.bin")
assert (sent.uploaded, sent.size, sent.file_name) == (True, len(data), "a.bin"), sent
assert bytes_at(sent.access_url) == data

wish = InitiateUploadRequest(content_type="image/png", file_name="b.png")
begun = initiate_upload.sync(client=client, body=wish)
store, name = begun.upload_url.split("?")[0].split("/")[-2:]
signature = begun.upload_url.partition("signature=")[2]
assert put_file.sync_detailed(store, name, client=client, body=body(), signature=signature).status_code == 200
assert bytes_at(begun.file_url) == data

opened = create_multipart_upload.sync(client=client)
store, name = opened.access_url.split("/")[-2:]
part = put_part.sync(store, name, opened.upload_id, 1, client=client, body=body())
assert part.etag == hashlib.sha256(data).hexdigest()
whole = CompleteMultipart(parts=[ListedPart(part_number=1, etag=part.etag)], size=len(data))
assert complete_multipart_upload.sync(store, name, opened.upload_id, client=client, body=whole).size == len(data)
assert bytes_at(opened.access_url) == data

entry = put_volume_file.sync("made/by a client/c.bin", client=client, body=body())
assert entry.size == len(data), entry
assert [each.name for each in serverless_list_directory.sync("made/by a client", client=client)] == ["c.bin"]
assert stat_volume_file.sync("made/by a client/c.bin", client=client).etag == entry.etag
assert serverless_download_file.sync("made/by a client/c.bin", client=client).payload.read() == data
assert delete_volume_file.sync("made", client=client).path == "made"
print("done")
"""


@pytest.fixture(scope="module")
def document(server: Server) -> bytes:
    return Talk(server).get("/openapi.json").body


@pytest.fixture(scope="module")
def made(document: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The folder of the package `made`, and what the generator said."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "openapi.json").write_bytes(document)
    command = [str(BIN / "openapi-python-client"), "generate", "--meta", "none"]
    done = subprocess.run(
        [*command, "--path", "openapi.json", "--output-path", "made"],
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    yield folder, done.stdout


def test_n9_no_operation_is_left_out(made: tuple[Path, str], document: bytes) -> None:
    folder, said = made
    assert "WARNING" not in said, said
    items = json.loads(document)["paths"].values()
    wanted = {operation["operationId"] for item in items for name, operation in item.items() if name != "parameters"}
    found = {path.stem for path in (folder / "made" / "api").glob("*/*.py")}
    assert {re.sub("([A-Z])", r"_\1", name).lower() for name in wanted} <= found


def test_n9_the_generated_calls_upload_read_and_list(made: tuple[Path, str], server: Server) -> None:
    folder, _ = made
    python = [str(BIN / "python"), "-W", "error::SyntaxWarning"]
    subprocess.run([*python, "-m", "compileall", "-q", "made"], cwd=folder, check=True, timeout=120)
    done = subprocess.run(
        [*python, "-c", CALLS, server.url, server.key], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
