"""`download_file` against an internet on the loopback."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import os
import re
import threading
from pathlib import Path

import pytest

from entrepot import atomic
from entrepot.fetch import Call, Fetcher, Policy
from entrepot.toolkit import File
from entrepot.toolkit import download as module
from entrepot.toolkit.download import Wish, download, download_file
from entrepot.toolkit.errors import (
    AddressRefused,
    DigestMismatch,
    DownloadCancelled,
    DownloadError,
    FileTooLarge,
    RemoteRefused,
    TargetUnusable,
)
from entrepot.toolkit.progress import reporter
from support.internet import Internet, Reply, Request

URL = "http://files.example.com/dir/file.bin?token=secret"
BODY = bytes(range(256)) * 20
USUAL = Policy(stall_seconds=5)


class Origin:
    """A host with one file that can be changed; what it sends is counted."""

    def __init__(self, net: Internet) -> None:
        self.body = BODY
        self.etag = '"1"'
        self.headers: dict[str, str] = {}
        self.head_status = 200
        self.cuts: list[int | None] = []
        self.ranges = True
        self.pause: threading.Event | None = None
        self.site = net.serve(self.answer)

    def answer(self, request: Request) -> Reply:
        headers = {**self.headers, **({"ETag": self.etag} if self.etag else {})}
        if request.method == "HEAD":
            return Reply(self.body, self.head_status, headers)
        cut = self.cuts.pop(0) if self.cuts else None
        asked = request.headers.get("range")
        if asked and self.ranges and request.headers.get("if-range") == self.etag:
            at = int(asked.removeprefix("bytes=").rstrip("-"))
            headers["Content-Range"] = f"bytes {at}-{len(self.body) - 1}/{len(self.body)}"
            return Reply(self.body[at:], 206, headers, cut=cut, pause=self.pause)
        return Reply(self.body, 200, headers, cut=cut, pause=self.pause)

    def with_digest(self, body: bytes | None = None) -> None:
        value = base64.b64encode(hashlib.sha256(self.body if body is None else body).digest()).decode()
        self.headers["Repr-Digest"] = f"sha-256=:{value}:"


@pytest.fixture
def net():
    with Internet() as net:
        yield net


@pytest.fixture
def origin(net):
    return Origin(net)


@pytest.fixture
def get(net, tmp_path, monkeypatch):
    """Download into an empty folder, by the stub internet, without pauses between tries."""
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.0)

    def get(url: str = URL, folder: Path = tmp_path / "target", policy: Policy = USUAL, **wish: object) -> Path:
        return download(Wish(url, folder, **wish), Fetcher(policy, net))  # type: ignore[arg-type]

    get.folder = tmp_path / "target"  # type: ignore[attr-defined]
    return get


def left(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_a_file_is_downloaded_under_the_name_of_its_url(get, origin, tmp_path):
    path = get()
    assert path == tmp_path / "target" / "file.bin"
    assert path.read_bytes() == BODY
    assert left(path.parent) == ["file.bin"]
    assert origin.site.count("HEAD") == 0


def test_a_new_file_has_the_mode_that_the_umask_says(get, origin):
    before = os.umask(0o027)
    try:
        assert get().stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(before)


def test_e08_a_hit_transfers_no_body_byte(get, origin):
    path, sent = get(), origin.site.sent
    for verify in (None, "size", "etag"):
        assert get(verify=verify) == path
    assert (origin.site.sent, origin.site.count("GET")) == (sent, 1)


@pytest.mark.parametrize("status", [403, 405, 501])
def test_e08_where_head_is_refused_a_get_is_closed_after_its_headers(get, origin, status):
    origin.body = bytes(64 * 1024 * 1024)
    origin.head_status = status
    path = get()
    sent = origin.site.sent
    assert get() == path
    assert origin.site.sent - sent < len(origin.body) / 4  # what fits into the buffers between us
    assert left(path.parent) == ["file.bin"]


@pytest.mark.parametrize("verify", ["etag", "digest"])
def test_e07_new_bytes_of_the_same_size_are_noticed(get, origin, verify):
    origin.with_digest()
    path = get(verify=verify)
    origin.body, origin.etag = BODY[::-1], '"2"'
    origin.with_digest()
    assert get() == path and path.read_bytes() == BODY, "by size alone it is a hit, as documented"
    assert get(verify=verify).read_bytes() == BODY[::-1]
    gets = origin.site.count("GET")
    get(verify=verify)
    assert origin.site.count("GET") == gets


def test_e07_force_always_downloads(get, origin):
    get()
    origin.body = BODY[::-1]
    assert get(force=True).read_bytes() == BODY[::-1]
    assert origin.site.count("HEAD") == 0


@pytest.mark.parametrize("verify", ["etag", "digest"])
def test_a_local_file_that_was_changed_is_noticed(get, origin, verify):
    origin.with_digest()
    path = get()
    path.write_bytes(BODY[::-1])
    os.utime(path, ns=(1, 1))
    assert get(verify=verify).read_bytes() == BODY


def test_a_file_of_unknown_origin_is_a_hit_by_its_digest(get, origin, tmp_path):
    origin.with_digest()
    path = tmp_path / "target" / "file.bin"
    path.parent.mkdir()
    path.write_bytes(BODY)
    assert get(verify="digest") == path
    assert origin.site.count("GET") == 0
    get(verify="etag")
    assert origin.site.count("GET") == 0, "the digest's hit noted where it is from"


def test_without_a_tag_the_time_of_change_serves(get, origin):
    origin.etag, origin.headers = "", {"Last-Modified": "Tue, 24 Nov 2026 13:00:00 GMT"}
    get()
    get(verify="etag")
    assert origin.site.count("GET") == 1
    origin.headers = {"Last-Modified": "Tue, 24 Nov 2026 14:00:00 GMT"}
    get(verify="etag")
    assert origin.site.count("GET") == 2


def test_another_size_is_no_hit(get, origin):
    get()
    origin.body = BODY + b"!"
    assert get().read_bytes() == BODY + b"!"


def test_e05_a_server_that_closes_early_at_every_byte_leaves_nothing_or_all(get, origin, tmp_path):
    origin.body = b"0123456789abcdef"
    for k in range(len(origin.body)):
        for etag in ('"1"', ""):
            folder = tmp_path / f"{k}{bool(etag)}"
            origin.etag, origin.cuts = etag, [k]
            if etag and k:  # it goes on by itself
                assert get(folder=folder).read_bytes() == origin.body
            else:
                with pytest.raises(DownloadError):
                    get(folder=folder)
                assert left(folder) == []
                origin.cuts = []
                assert get(folder=folder).read_bytes() == origin.body
            assert left(folder) == ["file.bin"]


def test_e05_what_is_there_stays_when_a_download_fails(get, origin):
    path = get()
    origin.body, origin.etag, origin.cuts = BODY * 2, "", [100]
    with pytest.raises(DownloadError):
        get()
    assert path.read_bytes() == BODY
    assert left(path.parent) == ["file.bin"]


def test_e15_an_interrupted_download_goes_on_where_it_was(get, origin, tmp_path):
    origin.cuts = [1000, 0]
    with pytest.raises(DownloadError):
        get()
    assert [name for name in left(tmp_path / "target") if not name.endswith(".part")] == []
    sent = origin.site.sent
    assert get().read_bytes() == BODY
    assert origin.site.sent - sent == len(BODY) - 1000
    assert left(tmp_path / "target") == ["file.bin"]


def test_e15_where_the_remote_changed_the_prefix_is_dropped(get, origin, tmp_path):
    origin.cuts = [1000, 0]
    with pytest.raises(DownloadError):
        get()
    origin.body, origin.etag = BODY[::-1] * 2, '"2"'
    origin.with_digest()
    assert get().read_bytes() == BODY[::-1] * 2


@pytest.mark.parametrize(("before", "after"), [(True, True), (True, False), (False, True)])
def test_e15_a_prefix_is_verified_whether_or_not_the_server_tells_a_digest(get, origin, before, after):
    if before:
        origin.with_digest()
    facts = os.getxattr(cut_off(get, origin), "user.entrepot")
    assert (b"sha256" in facts, b"crc32" in facts) == (before, not before)
    origin.headers = {}
    if after:
        origin.with_digest()
    sent = origin.site.sent
    path = get()
    assert path.read_bytes() == BODY and origin.site.sent - sent == len(BODY) - 1000
    assert (hashlib.sha256(BODY).hexdigest().encode() in os.getxattr(path, "user.entrepot")) == (before or after)
    if after:
        origin.body, origin.etag = BODY[::-1], '"2"'
        assert get(verify="digest").read_bytes() == BODY, "the digest decides, which has not changed"


def test_e15_a_server_that_ignores_if_range_is_not_believed(get, net, origin):
    origin.cuts = [1000, 0]
    with pytest.raises(DownloadError):
        get()
    changed = BODY[::-1]

    def careless(request: Request) -> Reply:
        headers = {"ETag": '"2"'}
        if "range" in request.headers:
            headers["Content-Range"] = f"bytes 1000-{len(changed) - 1}/{len(changed)}"
            return Reply(changed[1000:], 206, headers)
        return Reply(changed, 200, headers)

    origin.site.handler = careless
    assert get().read_bytes() == changed


def test_e15_a_prefix_that_is_damaged_is_dropped(get, origin, tmp_path):
    origin.cuts = [1000, 0]
    with pytest.raises(DownloadError):
        get()
    (part,) = (tmp_path / "target").glob(".fal_entrepot.*.part")
    with part.open("r+b") as file:
        file.write(b"damage")
    assert get().read_bytes() == BODY
    assert left(tmp_path / "target") == ["file.bin"]


def cut_off(get, origin) -> Path:
    """What a download of the first 1000 bytes left; the next request that is answered is whole."""
    origin.cuts = [1000, 0]
    with pytest.raises(DownloadError):
        get()
    (part,) = get.folder.glob(".fal_entrepot.*.part")
    return part


def begun_anew(get, origin) -> None:
    sent = origin.site.sent
    assert get().read_bytes() == BODY
    assert origin.site.sent - sent == len(BODY)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("end", [".part", ".lock"])
def test_what_another_user_planted_is_neither_gone_on_with_nor_believed_nor_touched(get, origin, end):
    planted = cut_off(get, origin)
    if end == ".lock":
        planted.unlink()
        planted = get.folder / f".fal_entrepot.{Wish(URL, get.folder).key}.lock"
        planted.write_text('{"name": "evil.bin", "size": 4}')
        (get.folder / "evil.bin").write_bytes(b"evil")
    before = planted.read_bytes()
    os.chown(planted, 12345, 12345)
    begun_anew(get, origin)
    assert planted.read_bytes() == before


@pytest.mark.parametrize("end", [".part", ".lock"])
def test_a_link_under_the_name_of_a_partial_or_lock_leads_nowhere(get, origin, tmp_path, end):
    mine, facts = tmp_path / "mine", os.getxattr(part := cut_off(get, origin), "user.entrepot")
    mine.write_bytes(part.read_bytes())
    os.setxattr(mine, "user.entrepot", facts)
    before = mine.read_bytes()
    for link in (os.link, os.symlink):
        planted = get.folder / f".fal_entrepot.{Wish(URL, get.folder).key}.1{end}"
        if end == ".lock":
            planted = planted.with_name(planted.name.replace(".1", ""))
        for name in get.folder.iterdir():
            name.unlink()
        link(mine, planted)
        begun_anew(get, origin)
        assert mine.read_bytes() == before


def test_a_partial_that_others_may_write_to_is_dropped(get, origin):
    cut_off(get, origin).chmod(0o620)
    begun_anew(get, origin)
    assert left(get.folder) == ["file.bin"]


def test_where_a_file_system_maps_users_our_own_partial_is_gone_on_with(get, origin, monkeypatch):
    cut_off(get, origin)
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    sent = origin.site.sent
    assert get().read_bytes() == BODY
    assert origin.site.sent - sent == len(BODY) - 1000


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("verify", ["etag", "digest"])
def test_what_another_user_noted_of_a_file_is_not_believed(get, origin, verify):
    origin.with_digest()
    facts = os.getxattr(path := get(), "user.entrepot")
    path.write_bytes(bytes(len(BODY)))
    status = path.stat()
    os.setxattr(path, "user.entrepot", re.sub(rb'"mtime":"\d+"', b'"mtime":"%d"' % status.st_mtime_ns, facts))
    assert get(verify=verify).read_bytes() == bytes(len(BODY)), "our own note is believed"
    os.chown(path, 12345, 12345)
    assert get(verify=verify).read_bytes() == BODY


def test_f07_a_drip_is_given_up_at_once_and_what_came_is_kept(get, origin):
    answer = origin.site.handler
    origin.site.handler = lambda request: dataclasses.replace(answer(request), drip=0.001)
    with pytest.raises(DownloadError, match="too slow") as caught:
        get(policy=Policy(min_rate=1e9, rate_seconds=0.05))
    assert (caught.value.code, origin.site.count("GET")) == ("too_slow", 1)
    origin.site.handler = answer
    assert get().read_bytes() == BODY
    assert "range" in origin.site.requests[-1].headers


def test_without_ranges_it_begins_anew(get, origin):
    origin.ranges, origin.cuts = False, [1000]
    assert get().read_bytes() == BODY


def test_a_digest_that_does_not_fit_is_an_error_and_nothing_is_left(get, origin, tmp_path):
    origin.with_digest(b"other bytes")
    with pytest.raises(DigestMismatch):
        get()
    assert left(tmp_path / "target") == []


@pytest.mark.parametrize("length", [True, False])
def test_e12_a_file_over_the_limit_is_refused_and_nothing_is_left(get, net, tmp_path, length):
    site = net.serve(lambda request: Reply(bytes(5_000_000), headers={"ETag": '"1"'}, length=length))
    with pytest.raises(FileTooLarge, match="filesize_limit or max_bytes"):
        get(limit=1_000_000)
    assert left(tmp_path / "target") == []
    if length:
        assert site.count("GET") == 1


@pytest.mark.parametrize("length", [True, False])
def test_e12_a_file_of_exactly_the_limit_is_taken(get, net, length):
    net.serve(lambda request: Reply(BODY, length=length))
    assert get(limit=len(BODY)).read_bytes() == BODY
    with pytest.raises(FileTooLarge):
        get(limit=len(BODY) - 1, force=True)


def test_e12_the_limit_holds_for_a_hit_too(get, origin):
    get()
    with pytest.raises(FileTooLarge):
        get(limit=10)


@pytest.mark.parametrize("kind", ["folder", "fifo"])
def test_e11_what_is_no_file_is_not_replaced(get, origin, tmp_path, kind):
    target = tmp_path / "target" / "file.bin"
    target.parent.mkdir()
    target.mkdir() if kind == "folder" else os.mkfifo(target)
    with pytest.raises(TargetUnusable):
        get()
    assert left(target.parent) == ["file.bin"]
    assert not target.is_file()


def test_e11_a_link_is_replaced_and_where_it_led_stays(get, origin, tmp_path):
    target, neighbour = tmp_path / "target" / "file.bin", tmp_path / "neighbour"
    target.parent.mkdir()
    neighbour.write_bytes(b"mine")
    target.symlink_to(neighbour)
    assert get().read_bytes() == BODY
    assert neighbour.read_bytes() == b"mine"
    assert not target.is_symlink()


def test_e11_a_file_with_the_name_of_the_url_is_not_touched_when_the_server_names_another(get, origin, tmp_path):
    neighbour = tmp_path / "target" / "file.bin"
    neighbour.parent.mkdir()
    neighbour.write_bytes(b"mine")
    origin.headers["Content-Disposition"] = 'attachment; filename="other.bin"'
    assert get().name == "other.bin"
    assert neighbour.read_bytes() == b"mine"


def test_e11_a_file_that_is_read_only_is_replaced_as_a_whole(get, origin, tmp_path):
    target = tmp_path / "target" / "file.bin"
    target.parent.mkdir()
    target.write_bytes(b"old")
    target.chmod(0o444)
    with target.open("rb") as reader:
        assert get().read_bytes() == BODY
        assert reader.read() == b"old"


def test_e11_a_folder_that_is_a_file_is_told(get, origin, tmp_path):
    (tmp_path / "target").write_bytes(b"mine")
    with pytest.raises(TargetUnusable):
        get()
    assert (tmp_path / "target").read_bytes() == b"mine"


def test_e11_a_folder_whose_links_go_round_is_told(tmp_path):
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(TargetUnusable):
        download_file("data:,x", tmp_path / "round" / "folder")
    with pytest.raises(OSError, match="round"):
        File.from_bytes(b"x", repository="in_memory").save(tmp_path / "round" / "file")


@pytest.mark.parametrize("name", ["..", ".", "/", "../../evil"])
def test_b12_a_hostile_name_stays_in_the_folder(get, origin, tmp_path, name):
    origin.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    path = get()
    assert path.parent == tmp_path / "target"
    assert left(tmp_path) == ["target"]
    assert path.name == ("evil" if "evil" in name else hashlib.sha256(URL.encode()).hexdigest())
    assert get() == path
    assert origin.site.count("GET") == 1


@pytest.mark.parametrize("status", [204, 206, 304, 401, 404, 500])
def test_f07_a_reply_that_is_no_file_is_no_success(get, net, tmp_path, status):
    net.serve(lambda request: Reply(status=status))
    with pytest.raises(RemoteRefused, match="Failed to get remote file properties for") as caught:
        get()
    assert caught.value.status == status
    assert "secret" not in str(caught.value)
    assert left(tmp_path / "target") == []


def test_f01_a_private_address_is_refused_with_the_words_of_the_stock_package(get, net):
    net.host("evil.example.com", ["10.0.0.1"])
    with pytest.raises(AddressRefused, match="Hostname resolves to a non-routable address") as caught:
        get("http://evil.example.com/x")
    assert caught.value.code == "blocked_address"
    assert caught.value.fix


def test_e13_a_data_uri_needs_no_network(get, net, tmp_path):
    url = "data:text/plain;base64,aGVsbG8="
    path = get(url)
    assert path == tmp_path / "target" / hashlib.sha256(url.encode()).hexdigest()
    assert path.read_bytes() == b"hello"
    assert get(url) == path and net.lookups == []


@pytest.mark.parametrize("url", ["data:text/plain", "data:;base64,a", "data:nonsense,x"])
def test_e13_a_bad_data_uri_is_a_download_error_and_leaves_nothing(get, net, tmp_path, url):
    with pytest.raises(DownloadError):
        get(url)
    assert left(tmp_path / "target") == []


def test_e10_what_an_ended_process_left_of_another_url_is_swept_after_a_day(get, origin, tmp_path):
    folder = tmp_path / "target"
    folder.mkdir()
    old, young = folder / ".fal_entrepot.aa.1.part", folder / ".fal_entrepot.bb.1.part"
    for part in (old, young):
        part.write_bytes(b"x")
    os.utime(old, (1, 1))
    get()
    assert left(folder) == [young.name, "file.bin"]


def test_e10_a_temporary_file_in_use_is_not_swept_however_old(get, origin, tmp_path):
    from entrepot.client.partial import try_lock

    folder = tmp_path / "target"
    folder.mkdir()
    live = folder / ".fal_entrepot.aa.1.part"
    with live.open("wb") as file:
        assert try_lock(file.fileno())
        os.utime(live, (1, 1))
        get()
        assert live.exists()


def test_the_caller_s_headers_are_sent_but_none_that_ask_for_a_part(get, origin):
    get(headers={"Authorization": "Bearer t"})
    assert origin.site.requests[0].headers["authorization"] == "Bearer t"
    with pytest.raises(DownloadError, match="Range"):
        get(headers={"Range": "bytes=0-1"})


def test_headers_that_programs_copy_from_browsers_are_passed_over(get, origin):
    copied = {"Host": "other.example.com", "Connection": "keep-alive", "Keep-Alive": "timeout=5", "TE": "gzip"}
    get(headers={**copied, "Accept-Encoding": "gzip"})
    sent = origin.site.requests[0].headers
    assert (sent["host"], sent["connection"], sent["accept-encoding"]) == ("files.example.com", "close", "identity")
    assert {"te", "keep-alive"}.isdisjoint(sent)


def test_a_header_is_said_as_text_bytes_or_a_number_and_nothing_else_is_made_one(get, origin):
    get(headers={"X-Number": 5, "X-Bytes": b"caf\xe9"})
    sent = origin.site.requests[0].headers
    assert (sent["x-number"], sent["x-bytes"]) == ("5", "caf\xe9")
    for value in (None, ["a"]):  # an unset variable in the place of a token, say
        with pytest.raises(DownloadError, match="'Authorization' is no text"):
            get(headers={"Authorization": value}, force=True)
    assert len(origin.site.requests) == 1


def test_progress_is_told_to_the_end(get, origin):
    told: list[tuple[int, int | None]] = []
    get(progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (len(BODY), len(BODY))


def test_a_large_file_is_whole_and_its_progress_rises(get, origin):
    origin.body = os.urandom(40 * 1024 * 1024 + 7)
    origin.with_digest()
    told: list[int] = []
    path = get(progress=lambda done, total: told.append(done))
    assert path.read_bytes() == origin.body
    assert told == sorted(told) and told[-1] == len(origin.body)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_a_bar_is_drawn_and_elsewhere_nothing():
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        report = reporter(True, stream)
        for done in (0, 30_000_000, 60_000_000):
            report(done, 60_000_000)
    assert "100% of 60.0 MB" in terminal.getvalue() and terminal.getvalue().endswith("\n")
    assert pipe.getvalue() == ""


def test_the_bytes_are_synced_before_the_name_is_given_and_the_name_after(get, origin):
    seen: list[atomic.Op] = []
    with atomic.observe(seen.append):
        path = get()
    kinds = [op.kind.value for op in seen]
    assert kinds[-3:] == ["sync", "rename", "sync_dir"] and kinds.index("write") < kinds.index("sync")
    assert seen[-2].target == str(path)


def test_nothing_is_printed(get, origin, capfd):
    get(progress=True)
    assert capfd.readouterr() == ("", "")


def test_a_cancelled_download_ends_and_can_be_gone_on_with(get, origin, tmp_path):
    call, origin.pause = Call(), threading.Event()
    origin.cuts = [1000]

    def cancel(done: int, total: int | None) -> None:
        call.cancel()

    with pytest.raises(DownloadCancelled):
        get(call=call, progress=cancel)
    origin.pause.set()
    assert get().read_bytes() == BODY


def test_an_error_of_the_callback_ends_the_download_and_leaves_no_lock(get, origin, tmp_path):
    def broken(done: int, total: int | None) -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        get(progress=broken)
    assert not any(name.endswith(".lock") for name in left(tmp_path / "target"))
    assert get().read_bytes() == BODY


def test_e15_a_range_of_a_total_without_end_is_not_believed(get, origin):
    origin.cuts = [1000, 0]
    with pytest.raises(DownloadError):
        get()
    answer = origin.site.handler

    def lies(request: Request) -> Reply:
        if "range" in request.headers:
            return Reply(b"x", 206, {"ETag": origin.etag, "Content-Range": "bytes 1000-1001/" + "9" * 5000})
        return answer(request)

    origin.site.handler = lies
    assert get().read_bytes() == BODY
