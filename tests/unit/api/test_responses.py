"""Errors in the words of the API that was asked (docs/protocol.md 1.5, 6.1)."""

from __future__ import annotations

import json

import pytest

from entrepot.api.responses import STATUS, refusal
from entrepot.domain.errors import Code, Problem

TYPES = {
    "authorization_error": {401, 403},
    "not_found": {404, 410},
    "rate_limited": {429},
    "server_error": {500, 503, 507},
    "validation_error": {400, 405, 408, 409, 412, 413, 416, 421, 424},
}


@pytest.mark.parametrize("code", Code, ids=lambda code: code.code)
def test_below_v1_every_error_has_a_type_that_its_status_goes_with_and_422_is_400(code: Code) -> None:
    problem = Problem(code, "It is not so.", where=("body", "x"))
    status, body = refusal(problem, "abc", b"/v1/serverless/files/list")
    assert status == (400 if STATUS[code] == 422 else STATUS[code])
    told = json.loads(body)["error"]
    assert status in TYPES[told["type"]]
    assert told == {
        "type": told["type"],
        "message": "body.x: It is not so.",
        "request_id": "abc",
        "code": code.code,
        "fix": problem.fix,
    }


@pytest.mark.parametrize("path", [b"/files/list", b"/v1", b"/v10/x", b"/"])
def test_elsewhere_an_error_has_detail_and_its_own_status(path: bytes) -> None:
    status, body = refusal(Problem(Code.VALIDATION_FAILED, "It is not so."), "abc", path)
    assert (status, json.loads(body)["detail"]) == (422, "It is not so.")
