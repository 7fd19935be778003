"""Keys, and the type that keeps their secrets out of sight (docs/threats.md D09)."""

import copy
import hashlib
import hmac
import json
import logging
import pickle
import traceback
from collections.abc import Callable
from dataclasses import asdict
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.domain.keys import ApiKey, Secret, matches, new_key, parse_key, secret_hash

WORD = "hunter2-hunter2"
SECRET = Secret(WORD)
KEY = ApiKey("id1", SECRET)


SHOWN = {
    "repr": repr,
    "str": str,
    "ascii": ascii,
    "format": format,
    "str.format": "{}".format,
    "str.format repr": "{!r:>40}".format,
    "percent s": "%s".__mod__,
    "percent r": "%r".__mod__,
    "f-string": lambda secret: f"{secret}",
    "in a list": lambda secret: repr([secret]),
    "in a dict": lambda secret: repr({"a": secret}),
    "in a key": lambda secret: repr(ApiKey("id1", secret)),
    "in a key's str": lambda secret: str(ApiKey("id1", secret)),
    "in an error": lambda secret: repr(ValueError(secret)),
    "in a log": lambda secret: logging.LogRecord("a", 20, "b", 1, "%s", (secret,), None).getMessage(),
    "in JSON": lambda secret: json.dumps([secret], default=str),
}
REFUSED: dict[str, Callable[[], object]] = {
    **{f"pickle {n}": partial(pickle.dumps, SECRET, n) for n in range(pickle.HIGHEST_PROTOCOL + 1)},
    "pickle a key": lambda: pickle.dumps(KEY),
    "copy": lambda: copy.copy(SECRET),
    "deepcopy": lambda: copy.deepcopy(KEY),
    "asdict": lambda: asdict(KEY),
    "JSON": lambda: json.dumps(SECRET),
    "padding": lambda: f"{SECRET:>20}",
    "hash": lambda: hash(SECRET),
    "vars": lambda: vars(SECRET),
}


@pytest.mark.parametrize("show", SHOWN.values(), ids=SHOWN)
def test_a_secret_shows_stars(show):
    shown = show(SECRET)
    assert "***" in shown
    assert WORD not in shown


@pytest.mark.parametrize("leak", REFUSED.values(), ids=REFUSED)
def test_what_would_copy_a_secret_fails_and_keeps_it(leak):
    with pytest.raises(TypeError) as caught:
        leak()
    assert WORD not in str(caught.value)


def fail(secret: Secret) -> None:
    key = ApiKey("id1", secret)
    raise RuntimeError(key)


def test_a_traceback_with_all_variables_keeps_the_secret():
    try:
        fail(SECRET)
    except RuntimeError as error:
        trace = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "Secret(***)" in trace
    assert WORD not in trace


def test_a_secret_that_is_no_proper_text_raises_no_error_that_shows_it():
    odd = Secret("hunter2\ud800")
    assert odd == Secret("hunter2\ud800")
    assert odd != SECRET
    assert not matches(odd, secret_hash(SECRET))


def test_a_secret_is_shown_when_asked_by_name():
    assert SECRET.reveal() == WORD
    assert KEY.reveal() == f"id1:{WORD}"


def test_a_secret_equals_only_the_same_secret():
    same, other = Secret(WORD), Secret(WORD + "x")
    assert same == SECRET
    assert other != SECRET
    assert SECRET != WORD


@pytest.mark.parametrize("text", ["", ":", "a", "a:", ":b", "Key"])
def test_what_is_not_id_and_secret_is_no_key(text):
    assert parse_key(text) is None


@given(st.text(min_size=1).filter(lambda t: ":" not in t), st.text(min_size=1))
def test_a_key_goes_round(key_id, secret):
    key = parse_key(f"{key_id}:{secret}")
    assert key == ApiKey(key_id, Secret(secret))
    assert key is not None and key.reveal() == f"{key_id}:{secret}"


def test_a_new_key_uses_its_randomness_in_full():
    asked = []

    def random(size: int) -> bytes:
        asked.append(size)
        return bytes([len(asked)]) * size

    key = new_key(random)
    assert asked == [16, 32]
    assert key == parse_key(f"{'01' * 16}:{'02' * 32}")


def test_only_the_right_secret_matches_its_hash():
    stored = secret_hash(SECRET)
    assert stored == hashlib.sha256(WORD.encode()).digest()
    assert matches(SECRET, stored)
    assert not matches(Secret(WORD[:-1]), stored)


@pytest.mark.parametrize("stored", [None, b"", bytes(32), b"x"])
def test_no_stored_hash_matches_nothing(stored):
    assert not matches(SECRET, stored)


@pytest.fixture
def compared(monkeypatch):
    """The lengths of what `hmac.compare_digest` was asked to compare."""
    lengths = []
    real = hmac.compare_digest

    def compare(a, b):
        lengths.append((len(a), len(b)))
        return real(a, b)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    return lengths


@pytest.mark.parametrize("stored", [None, secret_hash(SECRET), secret_hash(Secret("other"))])
def test_known_and_unknown_keys_are_compared_in_constant_time(compared, stored):
    matches(SECRET, stored)
    assert compared == [(32, 32)]


def test_secrets_are_compared_in_constant_time(compared):
    same = Secret(WORD)
    assert same == SECRET
    assert compared == [(len(WORD), len(WORD))]
