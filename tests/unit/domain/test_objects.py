"""Who may read when: the ACL first, then the end of life (docs/threats.md I3, I5; C07, D07)."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.domain.acl import ANONYMOUS, Acl, Decision, Principal, Rule, decide
from entrepot.domain.errors import Code, Problem, not_found
from entrepot.domain.lifecycle import MAX_LIFETIME
from entrepot.domain.objects import Object, ObjectState, check_readable, is_public

ALLOW, FORBID, HIDE = Decision.ALLOW, Decision.FORBID, Decision.HIDE
ANN, OWNER = Principal("ann"), Principal("owner")
NEVER = None
OBJECT = Object(
    id="ID1",
    path="/files/b/0a1b2c3d/ID1_a.png",
    name="a.png",
    account_id="owner",
    blob_id="blob1",
    size=3,
    sha256=None,
    content_type="image/png",
    sniffed_type="image/png",
    inline=True,
    acl=Acl(),
    published_at=100.0,
)


def outcome(obj: Object, who: Principal, now: float) -> Code | None:
    try:
        check_readable(obj, who, now)
    except Problem as problem:
        return problem.code
    return None


@pytest.mark.parametrize(
    ("now", "expected"),
    [(0, None), (199, None), (199.999_999, None), (200, Code.GONE), (200.0, Code.GONE), (200.000_001, Code.GONE)],
)
def test_expiry_holds_to_the_exact_second(now, expected):
    assert outcome(replace(OBJECT, expires_at=200.0), ANONYMOUS, now) is expected


def test_the_end_of_life_is_told_with_its_time():
    with pytest.raises(Problem, match=r"This file expired at 1970-01-01T00:03:20\+00:00\."):
        check_readable(replace(OBJECT, expires_at=200.0), ANONYMOUS, 200)


def test_the_longest_lifetime_is_told_without_an_error():
    end = 2**33 + MAX_LIFETIME
    assert outcome(replace(OBJECT, expires_at=end), ANONYMOUS, end) is Code.GONE


def test_what_has_no_end_is_readable_for_ever():
    assert outcome(OBJECT, ANONYMOUS, 1e18) is None


@pytest.mark.parametrize(("state", "expires_at"), list(product(ObjectState, [NEVER, 200.0])))
def test_hidden_is_the_same_as_missing_whatever_became_of_the_file(state, expires_at):
    hidden = replace(OBJECT, acl=Acl(HIDE), state=state, expires_at=expires_at)
    missing = not_found()
    with pytest.raises(Problem) as caught:
        check_readable(hidden, ANN, 300)
    assert (caught.value.code, caught.value.message) == (missing.code, missing.message)
    assert vars(caught.value) == vars(missing)
    assert caught.value.args == missing.args


@pytest.mark.parametrize(("state", "expires_at"), list(product(ObjectState, [NEVER, 200.0])))
def test_who_may_not_read_does_not_learn_that_the_file_is_gone(state, expires_at):
    assert outcome(replace(OBJECT, acl=Acl(FORBID), state=state, expires_at=expires_at), ANN, 300) is Code.FORBIDDEN


@pytest.mark.parametrize("default", Decision)
def test_the_owner_reads_whatever_the_acl_says_but_not_what_is_gone(default):
    rules = (Rule("owner", HIDE),)
    mine = replace(OBJECT, acl=Acl(default, rules), expires_at=200.0)
    assert outcome(mine, OWNER, 199) is None
    assert outcome(mine, OWNER, 200) is Code.GONE


@pytest.mark.parametrize("state", [ObjectState.DELETED, ObjectState.EXPIRED])
@pytest.mark.parametrize("expires_at", [NEVER, 200.0])
def test_a_row_without_bytes_is_gone_even_before_its_time(state, expires_at):
    assert outcome(replace(OBJECT, state=state, blob_id="", expires_at=expires_at), OWNER, 0) is Code.GONE


def test_a_deleted_file_is_told_from_an_expired_one():
    with pytest.raises(Problem, match="deleted"):
        check_readable(replace(OBJECT, state=ObjectState.DELETED, expires_at=200.0), OWNER, 300)


def test_an_upload_signature_does_not_read_what_its_account_could():
    signer = Principal("owner", "key1", upload_path=OBJECT.path)
    assert outcome(replace(OBJECT, acl=Acl(FORBID)), signer, 0) is Code.FORBIDDEN


RULES = st.lists(st.builds(Rule, st.sampled_from(["ann", "owner"]), st.sampled_from(Decision)))


@given(
    st.builds(Acl, st.sampled_from(Decision), RULES.map(tuple)),
    st.sampled_from([ANONYMOUS, ANN, OWNER]),
    st.sampled_from(ObjectState),
    st.one_of(st.none(), st.integers(0, 10)),
    st.integers(0, 10),
)
def test_a_file_is_read_only_when_allowed_live_and_in_time(acl, who, state, expires_at, now):
    obj = replace(OBJECT, acl=acl, state=state, expires_at=expires_at)
    allowed = decide(acl, "owner", who.reader_ids) is ALLOW
    in_time = state is ObjectState.LIVE and (expires_at is None or now < expires_at)
    assert (outcome(obj, who, now) is None) == (allowed and in_time)


@pytest.mark.parametrize("default", Decision)
def test_public_is_what_an_anonymous_reader_may_read(default):
    assert is_public(replace(OBJECT, acl=Acl(default, (Rule("ann", ALLOW),)))) == (default is ALLOW)


def test_the_etag_is_strong_and_stays_when_the_digest_comes():
    assert OBJECT.etag == '"ID1"'
    assert replace(OBJECT, sha256=bytes(32)).etag == OBJECT.etag
