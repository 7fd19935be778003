"""Which handler a URL of the volume finds, and what it names: matched from both ends, with slashes raw or escaped."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from entrepot.api.app import byte_path
from entrepot.api.bytes import volume, volume_lists
from entrepot.api.volume import apps, legacy, multipart, platform
from entrepot.api.volume.routes import VolumeHandler, fitting

ID = "0123456789abcdef" * 2
OLD, V1 = "/files", "/v1/serverless/files"


def found(method: str, url: str) -> tuple[VolumeHandler, Mapping[str, bytes]] | None:
    """The first route that has the method."""
    return next(((rows[method], params) for rows, params in fitting(url.encode()) if method in rows), None)


TABLE: list[tuple[str, str, VolumeHandler, str, dict[str, str]]] = [
    ("GET", f"{OLD}/list", volume_lists.list_folder_legacy, "", {}),
    ("GET", f"{OLD}/list/", volume_lists.list_folder_legacy, "", {}),
    ("GET", f"{OLD}/list//data/models/", volume_lists.list_folder_legacy, "/data/models/", {}),
    ("GET", f"{OLD}/file//data/a", volume.download, "/data/a", {}),
    ("GET", f"{OLD}/file/multipart/a/initiate", volume.download, "multipart/a/initiate", {}),
    ("DELETE", f"{OLD}/file/url/x", legacy.delete, "url/x", {}),
    ("POST", f"{OLD}/file/exists//data/url/x", legacy.exists, "/data/url/x", {}),
    ("POST", f"{OLD}/file/local//data/a", volume.upload_form, "/data/a", {}),
    ("POST", f"{OLD}/file/local/a/multipart/b/cancel", volume.upload_form, "a/multipart/b/cancel", {}),
    ("POST", f"{OLD}/file/local//data/a/multipart/{ID}/cancel", multipart.cancel, "/data/a", {"upload_id": ID}),
    ("POST", f"{OLD}/file/multipart//data/a/initiate", multipart.initiate, "/data/a", {}),
    ("POST", f"{OLD}/file/multipart/initiate/initiate", multipart.initiate, "initiate", {}),
    ("POST", f"{OLD}/file/multipart/a/{ID}/1/{ID}/complete", multipart.complete, f"a/{ID}/1", {"upload_id": ID}),
    ("PUT", f"{OLD}/file/multipart//data/a%2Fb//c/{ID}/7", volume.put_part, "/data/a%2Fb//c",
     {"upload_id": ID, "part_number": "7"}),
    ("POST", f"{OLD}/app/multipart/abc/initiate", apps.initiate, "", {"hash": "abc"}),
    ("PUT", f"{OLD}/app/multipart/abc/{ID}/1", volume.put_app_part, "",
     {"hash": "abc", "upload_id": ID, "part_number": "1"}),
    ("GET", f"{V1}/list/a/b", volume_lists.list_folder, "a/b", {}),
    ("GET", f"{V1}/file/multipart/a/{ID}", volume_lists.list_parts, "a", {"upload_id": ID}),
    ("GET", f"{V1}/file/multipart%2Fa%2F{ID}", volume.download, f"multipart%2Fa%2F{ID}", {}),
    ("GET", f"{V1}/file/multipart/a/{ID[1:]}", volume.download, f"multipart/a/{ID[1:]}", {}),
    ("PUT", f"{V1}/file/multipart/a/1", volume.put, "multipart/a/1", {}),
    ("PUT", f"{V1}/file/multipart/a/{ID}/1", volume.put_part, "a", {"upload_id": ID, "part_number": "1"}),
    ("PUT", f"{V1}/file/multipart/a/{ID.upper()}/-1", volume.put_part, "a",
     {"upload_id": ID.upper(), "part_number": "-1"}),
    ("PUT", f"{V1}/file/multipart%2Fa%2F{ID}%2F1", volume.put, f"multipart%2Fa%2F{ID}%2F1", {}),
    ("DELETE", f"{V1}/file/multipart/a/{ID}", multipart.cancel, "a", {"upload_id": ID}),
    ("POST", f"{V1}/trash/x/restore", platform.restore, "", {"trash_id": "x"}),
    ("DELETE", f"{V1}/trash/x", platform.drop, "", {"trash_id": "x"}),
]  # fmt: skip


@pytest.mark.parametrize(("method", "url", "handler", "raw", "ids"), TABLE, ids=[f"{row[0]} {row[1]}" for row in TABLE])
def test_a_url_finds_its_handler_and_parameters(
    method: str, url: str, handler: VolumeHandler, raw: str, ids: dict[str, str]
) -> None:
    hit = found(method, url)
    assert hit is not None
    assert hit[0] is handler
    params = {name: value.decode() for name, value in hit[1].items()}
    assert params.pop("path", "") == raw
    assert params == ids


NOWHERE = [f"{OLD}/lists", f"{OLD}", f"{OLD}/", f"{OLD}/file", f"{OLD}/tus", f"{OLD}/app/multipart/a/b/c",
           V1, f"{V1}/trash/a/b", f"{V1}/trash/", "/v1/serverless", "/v1/files/list", "/FILES/list", "//files/list",
           "/files//list"]  # fmt: skip


@pytest.mark.parametrize("url", NOWHERE)
def test_a_url_that_is_no_route_finds_nothing(url: str) -> None:
    assert list(fitting(url.encode())) == []


def test_the_cdn_s_routes_are_not_taken_over() -> None:
    for url in ("/files/b/x/y", "/files/upload", "/files/upload/existing", "/files/upload/multipart"):
        assert byte_path(url.encode())
        assert list(fitting(url.encode())) == []
    assert byte_path(b"/files/tus") is None
    assert byte_path(b"/v1/nothing") == {}
