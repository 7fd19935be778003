"""From a reply to values, or to an error that a person can read."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.client.commands import Reply, Request
from entrepot.client.errors import ConnectionFailed, EntrepotError, ServerError
from entrepot.client.replies import answered, link, moment, text

ASKED = Request("POST", "https://media.example/files/upload?signature=hidden", {"authorization": "Key hidden"})
NOW = 1_800_000_000.0


def refused(status: int, body: bytes = b"", **headers: str) -> ServerError:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with pytest.raises(ServerError) as caught:
        answered(Reply(status, named, body), ASKED, NOW)
    return caught.value


def test_a_success_is_its_object_or_nothing() -> None:
    assert answered(Reply(200, {}, b'{"a": 1}'), ASKED, NOW) == {"a": 1}
    assert answered(Reply(204, {}, b""), ASKED, NOW) == {}


def test_our_error_has_all_its_fields() -> None:
    body = {"message": "Too large.", "fix": "Make it smaller.", "code": "too_large", "request_id": "r1"}
    error = refused(413, json.dumps(body).encode(), retry_after="3")
    assert (error.message, error.fix, error.code, error.request_id) == tuple(body.values())
    assert (error.status_code, error.retry_after) == (413, 3.0)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"detail": "no", "error_type": "runner_timeout"}, "runner_timeout"),
        ({"detail": "no"}, "told_by_header"),
        ({"error_type": None}, "told_by_header"),
        ({"error_type": ""}, "told_by_header"),
        ({"error_type": ["a"]}, "told_by_header"),
        ({"error": {"message": "no", "type": "not_found"}}, "told_by_header"),
        ([], "told_by_header"),
    ],
    ids=str,
)
def test_c3_the_error_type_of_the_body_wins_over_the_header(body: Any, kind: str) -> None:
    assert refused(504, json.dumps(body).encode(), x_fal_error_type="told_by_header").error_type == kind


@pytest.mark.parametrize(
    ("detail", "says"),
    [
        ("plain", "plain"),
        ([{"loc": ["body", 0, "x"], "msg": "bad"}, {"loc": ["y"], "msg": "worse"}], "body.0.x: bad; y: worse"),
        ([{"loc": None}, 5], "None: None"),
    ],
)
def test_the_detail_of_fal_is_a_text_or_a_list(detail: Any, says: str) -> None:
    assert refused(422, json.dumps({"detail": detail}).encode()).message == says


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0), ("7", 7.0), ("", None), ("soon", None), ("-3", None), ("1.5", None), ("\u0663", None),
        ("Fri, 15 Jan 2027 08:00:10 GMT", 10.0), ("Fri, 15 Jan 2010 08:00:10 GMT", 0.0),
        ("Fri, 99 Jan 2027 99:00:10 GMT", None),
    ],
)  # fmt: skip
def test_retry_after_is_a_number_or_a_date(value: str, seconds: float | None) -> None:
    assert refused(429, retry_after=value).retry_after == seconds


@given(st.binary(min_size=1, max_size=300), st.integers(300, 599), st.text(max_size=60), st.text(max_size=60))
def test_no_reply_whatsoever_breaks_the_terminal_or_the_client(
    body: bytes, status: int, after: str, where: str
) -> None:
    error = refused(status, body, retry_after=after, location=where)
    assert str(error).isprintable() and "hidden" not in str(error)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
fields = st.sampled_from(["message", "detail", "fix", "code", "request_id", "error"])


@given(st.dictionaries(fields, json_values), st.integers(400, 599))
def test_no_field_of_any_type_breaks_it(body: dict[str, Any], status: int) -> None:
    assert str(refused(status, json.dumps(body).encode())).isprintable()


def test_a_long_message_is_cut() -> None:
    assert len(str(refused(400, json.dumps({"message": "x" * 10**6}).encode()))) < 3000


def test_json_that_is_cut_counts_as_a_broken_connection() -> None:
    with pytest.raises(ConnectionFailed, match="cut"):
        answered(Reply(200, {"content-type": "application/json"}, b'{"a'), ASKED, NOW)


def test_json_that_is_cut_is_not_quoted_because_it_may_hold_a_token() -> None:
    with pytest.raises(ConnectionFailed) as caught:
        answered(Reply(200, {"content-type": "application/json"}, b'{"token": "hidden", "token_ty'), ASKED, NOW)
    assert "hidden" not in str(caught.value)


def test_a_400_of_which_the_server_knows_nothing_counts_as_a_broken_connection_too() -> None:
    with pytest.raises(ConnectionFailed, match="could not read"):
        answered(Reply(400, {}, b""), ASKED, NOW)
    assert refused(400, x_request_id="r1").status_code == 400


@pytest.mark.parametrize("value", [None, "", 5, [], {}])
def test_a_missing_field_is_named(value: Any) -> None:
    with pytest.raises(EntrepotError, match="'x'"):
        text({"x": value}, "x")


@given(st.text())
def test_any_text_is_a_url_or_refused(value: str) -> None:
    with contextlib.suppress(EntrepotError):
        assert link({"x": value}, "x").startswith(("http://", "https://", "HTTP", "hTTP"))


def test_a_url_without_tls_is_refused_after_a_question_over_tls() -> None:
    assert link({"x": "http://a/b"}, "x", "http://a") == "http://a/b"
    with pytest.raises(EntrepotError, match="over TLS"):
        link({"x": "http://a/b"}, "x", "https://a")


@given(json_values)
def test_any_value_is_a_moment_or_none(value: Any) -> None:
    moment(value)
