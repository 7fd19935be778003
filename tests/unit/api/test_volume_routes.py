"""Which route a URL of the volume finds, and its parameters: matched from both ends, with slashes raw or escaped."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from entrepot.api.app import find

ID = "0123456789abcdef" * 2
OLD, V1 = "/files", "/v1/serverless/files"


def found(method: str, url: str) -> tuple[str, Mapping[str, bytes]]:
    """The id of the operation that answers, and the raw parameters."""
    route, params = find(url.encode())[method]
    assert route.operation is not None
    return route.operation.name, params


TABLE: list[tuple[str, str, str, str, dict[str, str]]] = [
    ("GET", f"{OLD}/list", "listFiles", "", {}),
    ("GET", f"{OLD}/list/", "listFolder", "", {}),
    ("GET", f"{OLD}/list//data/models/", "listFolder", "/data/models/", {}),
    ("GET", f"{OLD}/file//data/a", "downloadFile", "/data/a", {}),
    ("GET", f"{OLD}/file/multipart/a/initiate", "downloadFile", "multipart/a/initiate", {}),
    ("DELETE", f"{OLD}/file/url/x", "deleteFile", "url/x", {}),
    ("POST", f"{OLD}/file/exists//data/url/x", "fileExists", "/data/url/x", {}),
    ("POST", f"{OLD}/file/local//data/a", "uploadLocalFile", "/data/a", {}),
    ("POST", f"{OLD}/file/local/a/multipart/b/cancel", "uploadLocalFile", "a/multipart/b/cancel", {}),
    ("POST", f"{OLD}/file/local//data/a/multipart/{ID}/cancel", "cancelLocalFile", "/data/a", {"upload_id": ID}),
    ("POST", f"{OLD}/file/multipart//data/a/initiate", "initiateFile", "/data/a", {}),
    ("POST", f"{OLD}/file/multipart/initiate/initiate", "initiateFile", "initiate", {}),
    ("POST", f"{OLD}/file/multipart/a/{ID}/1/{ID}/complete", "completeFile", f"a/{ID}/1", {"upload_id": ID}),
    ("PUT", f"{OLD}/file/multipart//data/a%2Fb//c/{ID}/7", "putFilePart", "/data/a%2Fb//c",
     {"upload_id": ID, "part_number": "7"}),
    ("POST", f"{OLD}/app/multipart/abc/initiate", "initiateAppFile", "", {"hash": "abc"}),
    ("PUT", f"{OLD}/app/multipart/abc/{ID}/1", "putAppFilePart", "",
     {"hash": "abc", "upload_id": ID, "part_number": "1"}),
    ("GET", f"{V1}/list/a/b", "serverlessListDirectory", "a/b", {}),
    ("GET", f"{V1}/file/multipart/a/{ID}", "listVolumeFileParts", "a", {"upload_id": ID}),
    ("GET", f"{V1}/file/multipart%2Fa%2F{ID}", "serverlessDownloadFile", f"multipart%2Fa%2F{ID}", {}),
    ("GET", f"{V1}/file/multipart/a/{ID[1:]}", "serverlessDownloadFile", f"multipart/a/{ID[1:]}", {}),
    ("PUT", f"{V1}/file/multipart/a/1", "putVolumeFile", "multipart/a/1", {}),
    ("PUT", f"{V1}/file/multipart/a/{ID}/1", "putVolumeFilePart", "a", {"upload_id": ID, "part_number": "1"}),
    ("PUT", f"{V1}/file/multipart/a/{ID.upper()}/-1", "putVolumeFilePart", "a",
     {"upload_id": ID.upper(), "part_number": "-1"}),
    ("PUT", f"{V1}/file/multipart%2Fa%2F{ID}%2F1", "putVolumeFile", f"multipart%2Fa%2F{ID}%2F1", {}),
    ("DELETE", f"{V1}/file/multipart/a/{ID}", "abortVolumeFile", "a", {"upload_id": ID}),
    ("POST", f"{V1}/trash/x/restore", "restoreFromTrash", "", {"trash_id": "x"}),
    ("DELETE", f"{V1}/trash/x", "dropFromTrash", "", {"trash_id": "x"}),
]  # fmt: skip


@pytest.mark.parametrize(("method", "url", "name", "raw", "ids"), TABLE, ids=[f"{row[0]} {row[1]}" for row in TABLE])
def test_a_url_finds_its_operation_and_parameters(
    method: str, url: str, name: str, raw: str, ids: dict[str, str]
) -> None:
    operation, params = found(method, url)
    given = {key: value.decode() for key, value in params.items()}
    assert operation == name
    assert given.pop("path", "") == raw
    assert given == ids


def test_routes_of_both_planes_that_fit_a_url_are_merged() -> None:
    assert find(f"{V1}/file/a".encode()).keys() == {"GET", "HEAD", "PUT", "DELETE"}
    assert find(f"{V1}/file/multipart/a/{ID}".encode()).keys() == {"GET", "HEAD", "PUT", "DELETE"}


NOWHERE = [f"{OLD}/lists", f"{OLD}", f"{OLD}/", f"{OLD}/file", f"{OLD}/tus", f"{OLD}/app/multipart/a/b/c",
           V1, f"{V1}/trash/a/b", f"{V1}/trash/", "/v1/serverless", "/v1/files/list", "/FILES/list", "//files/list",
           "/files//list", "/v1/nothing"]  # fmt: skip


@pytest.mark.parametrize("url", NOWHERE)
def test_a_url_that_is_no_route_finds_nothing(url: str) -> None:
    assert find(url.encode()) == {}


@pytest.mark.parametrize("url", ["/files/b/x/y", "/files/upload", "/files/upload/existing", "/files/upload/multipart"])
def test_the_routes_of_objects_are_not_taken_over(url: str) -> None:
    for route, _ in find(url.encode()).values():
        assert route.operation is not None and route.operation.tag in ("Storage", "Files")
