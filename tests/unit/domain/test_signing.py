"""Tokens: whatever is changed in one, it fails (docs/threats.md D01, D04)."""

import hashlib
import hmac
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.domain.signing import Claims, Signer

SECRET = hashlib.sha256(b"a secret of a test").digest()
SIGNER = Signer(SECRET)
PATH = "/files/b/0a1b2c3d/ID_name.png"
CLAIMS = Claims("read", "key1", 1_000, PATH)
TOKEN = SIGNER.sign(CLAIMS)
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/~ "


def test_a_token_gives_its_claims_back():
    assert SIGNER.verify(TOKEN, "read", 999.9, PATH) == CLAIMS


def test_equal_claims_give_an_equal_token_that_is_safe_in_a_url():
    assert SIGNER.sign(CLAIMS) == TOKEN
    assert set(TOKEN) <= set(ALPHABET[:65])


@pytest.mark.parametrize("now", [1_000, 1_000.0001, 2_000, float("inf")])
def test_a_token_ends_at_the_exact_second(now):
    assert SIGNER.verify(TOKEN, "read", now, PATH) is None


def test_any_flipped_bit_of_a_token_fails():
    for index, letter in enumerate(TOKEN):
        for bit in range(8):
            forged = TOKEN[:index] + chr(ord(letter) ^ 1 << bit) + TOKEN[index + 1 :]
            assert SIGNER.verify(forged, "read", 0, PATH) is None


def test_any_other_character_at_any_place_fails():
    for index, letter in enumerate(TOKEN):
        for other in set(ALPHABET) - {letter}:
            assert SIGNER.verify(TOKEN[:index] + other + TOKEN[index + 1 :], "read", 0, PATH) is None


def test_anything_inserted_or_left_out_fails():
    for index in range(len(TOKEN) + 1):
        assert SIGNER.verify(TOKEN[:index] + TOKEN[index + 1 :], "read", 0, PATH) is None or index == len(TOKEN)
        for extra in "A.= \n\0é\ud800":
            assert SIGNER.verify(TOKEN[:index] + extra + TOKEN[index:], "read", 0, PATH) is None


def test_any_flipped_bit_of_the_path_fails():
    for index, letter in enumerate(PATH):
        for bit in range(8):
            forged = PATH[:index] + chr(ord(letter) ^ 1 << bit) + PATH[index + 1 :]
            assert SIGNER.verify(TOKEN, "read", 0, forged) is None


@pytest.mark.parametrize(
    ("purpose", "subject"), [("write", PATH), ("", PATH), ("read", ""), ("read" + PATH, ""), ("rea", "d" + PATH)]
)
def test_a_token_is_good_for_one_purpose_and_one_path(purpose, subject):
    assert SIGNER.verify(TOKEN, purpose, 0, subject) is None


def test_halves_of_two_tokens_make_no_third():
    other = SIGNER.sign(Claims("read", "key2", 9_999, PATH))
    (claims, mac), (other_claims, other_mac) = TOKEN.split("."), other.split(".")
    assert SIGNER.verify(f"{claims}.{other_mac}", "read", 0, PATH) is None
    assert SIGNER.verify(f"{other_claims}.{mac}", "read", 0, PATH) is None


def test_another_secret_does_not_verify():
    assert Signer(SECRET[::-1]).verify(TOKEN, "read", 0, PATH) is None


@given(st.text())
def test_garbage_is_refused_without_an_error(text):
    assert SIGNER.verify(text, "read", 0, PATH) is None
    assert SIGNER.verify(f"{text}.{TOKEN}", "read", 0, PATH) is None


@given(st.text(), st.text(), st.integers(1, 2**53), st.text())
def test_every_claim_goes_round(purpose, key_id, expires_at, subject):
    claims = Claims(purpose, key_id, expires_at, subject)
    assert SIGNER.verify(SIGNER.sign(claims), purpose, 0, subject) == claims


@pytest.mark.parametrize("secret", [b"", b"short", bytes(32), b"\x01" * 64, SECRET[:31], b"abcdefg" * 10])
def test_a_weak_secret_is_refused(secret):
    with pytest.raises(ValueError, match="32 random bytes"):
        Signer(secret)


def test_a_signer_does_not_show_its_secret():
    shown = repr(SIGNER) + str(SIGNER) + f"{SIGNER}"
    assert shown == "Signer(***)" * 3
    try:
        SIGNER.sign(None)  # type: ignore[arg-type]
    except AttributeError as error:
        trace = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert SECRET.hex() not in trace
    assert repr(SECRET) not in trace


def test_macs_are_compared_in_constant_time(monkeypatch):
    lengths = []
    real = hmac.compare_digest

    def compare(a, b):
        lengths.append((len(a), len(b)))
        return real(a, b)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    SIGNER.verify(TOKEN, "read", 0, PATH)
    SIGNER.verify(TOKEN, "write", 0, PATH)
    SIGNER.verify(TOKEN, "read", 2_000, PATH)
    assert lengths == [(32, 32)] * 3
