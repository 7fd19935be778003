"""`/v1/jobs`: uploads from URLs that nobody waits for, their progress and their end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from support.inprocess import InProcess
from support.internet import Internet, Reply
from support.talk import eventually

OLD, V1 = "/files/file/url", "/v1/serverless/files/file/url"
URL = "http://files.example.com/a.bin?signature=secret"
DATA = bytes(2 * 1024 * 1024)


@pytest.fixture(scope="module")
def net() -> Iterator[Internet]:
    with Internet() as net:
        yield net


@pytest.fixture(scope="module")
def app(net: Internet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    with InProcess(tmp_path_factory.mktemp("home"), net) as app:
        yield app


def described(app: InProcess, job_id: str) -> dict[str, Any]:
    app.breathe()
    reply = app.get(f"/v1/jobs/{job_id}")
    assert reply.status == 200
    assert "secret" not in reply.body.decode()
    job: dict[str, Any] = reply.json()
    return job


def ended(app: InProcess, job_id: str) -> dict[str, Any]:
    eventually(lambda: described(app, job_id)["state"] not in ("queued", "running"))
    return described(app, job_id)


@pytest.mark.parametrize("base", [OLD, V1])
def test_without_a_wait_the_reply_is_a_job_that_goes_on_alone(app: InProcess, net: Internet, base: str) -> None:
    net.serve(lambda request: Reply(DATA))
    reply = app.post(f"{base}/models/{len(base)}?wait=false", {"url": URL})
    assert reply.status == 202
    job = reply.json()
    assert (job["state"], job["target"]) == (
        "queued", {"path": f"models/{len(base)}", "url": "http://files.example.com/a.bin"},
    )  # fmt: skip
    done = ended(app, job["id"])
    assert (done["state"], done["result"], done["error"], done["attempts"]) == (
        "done", {"path": f"models/{len(base)}"}, None, 1,
    )  # fmt: skip
    assert done["progress"] == {"bytes": len(DATA), "total": len(DATA)}
    assert (app.root / "models" / str(len(base))).read_bytes() == DATA


def test_a_failed_job_says_why(app: InProcess, net: Internet) -> None:
    net.serve(lambda request: Reply(status=404))
    job = ended(app, app.post(f"{V1}/failed?wait=false", {"url": URL}).json()["id"])
    assert (job["state"], job["result"], job["error"]["code"]) == ("failed", None, "fetch_failed")
    assert "404" in job["error"]["message"] and job["error"]["fix"]


@pytest.mark.parametrize("url", ["", "ftp://files.example.com/", "http://media.example.com/healthz"])
def test_what_is_wrong_with_the_request_is_said_at_once(app: InProcess, url: str) -> None:
    assert app.post(f"{V1}/refused?wait=false", {"url": url}).status == 400
    assert app.post(f"{OLD}/refused?wait=false", {"url": url}).status == 422
    assert app.post(f"{V1}/refused?wait=perhaps", {"url": URL}).status == 400


def test_a_job_is_cancelled_once_and_leaves_nothing(app: InProcess, net: Internet) -> None:
    gate = threading.Event()
    net.serve(lambda request: Reply(DATA, cut=len(DATA) // 2, pause=gate))
    job_id = app.post(f"{V1}/cancelled?wait=false", {"url": URL}).json()["id"]
    eventually(lambda: described(app, job_id)["state"] == "running")
    assert app.post(f"/v1/jobs/{job_id}/cancel", {}).status == 200
    assert ended(app, job_id)["state"] == "cancelled"
    again = app.post(f"/v1/jobs/{job_id}/cancel", {})
    assert (again.status, again.json()["state"]) == (200, "cancelled")
    assert not (app.root / "cancelled").exists()
    gate.set()


def test_jobs_are_listed_newest_first_in_pages(app: InProcess, net: Internet) -> None:
    net.serve(lambda request: Reply(b"x"))
    made = [app.post(f"{V1}/listed?wait=false", {"url": URL}).json()["id"] for _ in range(3)]
    listed = [job["id"] for job in app.get("/v1/jobs?limit=2").json()["jobs"]]
    assert listed == [made[2], made[1]]
    assert app.get(f"/v1/jobs?limit=1&before={made[1]}").json()["jobs"][0]["id"] == made[0]
    for job_id in made:
        ended(app, job_id)
    for limit in ("0", "1001", "x", "-1", "1&limit=1", "1&before=a&before=b"):
        assert app.get(f"/v1/jobs?limit={limit}").status == 400


def test_jobs_are_for_keys_of_their_account(app: InProcess) -> None:
    for target in ("/v1/jobs", "/v1/jobs/x"):
        for credential in ("", "Key a:b", "Bearer x"):
            assert app.get(target, authorization=credential).status == 401
    assert app.post("/v1/jobs/x/cancel", {}, authorization="").status == 401
    missing = app.get("/v1/jobs/x")
    assert (missing.status, missing.json()["error"]["code"]) == (404, "not_found")
    assert app.post("/v1/jobs/x/cancel", {}).status == 404
