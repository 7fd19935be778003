"""Request over account over system, field by field (docs/protocol.md 4.3)."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.domain.acl import Acl, Decision, Rule
from entrepot.domain.lifecycle import MAX_LIFETIME, UNSET, AclChoice, Lifecycle, Terms, resolve

ALLOW, FORBID, HIDE = Decision.ALLOW, Decision.FORBID, Decision.HIDE
ANN, BOB = (Rule("ann", FORBID),), (Rule("bob", ALLOW),)


@pytest.mark.parametrize(
    ("requested", "account", "expected"),
    [
        (UNSET, UNSET, None),
        (UNSET, None, None),
        (UNSET, 60, 60),
        (None, UNSET, None),
        (None, None, None),
        (None, 60, None),  # an explicit null is "never", whatever the account says
        (5, UNSET, 5),
        (5, None, 5),
        (5, 60, 5),
        (90, 60, 90),
        (0, 60, 0),  # a nought differs from "never"; the doors refuse it
    ],
)
def test_the_lifetime_of_the_request_comes_before_that_of_the_account(requested, account, expected):
    assert resolve(Lifecycle(requested), Lifecycle(account)).lifetime == expected


@pytest.mark.parametrize(
    ("requested", "account", "expected"),
    [
        (UNSET, UNSET, Acl(ALLOW)),
        (UNSET, AclChoice(), Acl(ALLOW)),
        (UNSET, AclChoice(HIDE, ANN), Acl(HIDE, ANN)),
        (UNSET, AclChoice(None, ANN), Acl(ALLOW, ANN)),
        (AclChoice(), UNSET, Acl(ALLOW)),
        (AclChoice(FORBID), UNSET, Acl(FORBID)),
        (AclChoice(FORBID), AclChoice(HIDE, ANN), Acl(FORBID)),
        (AclChoice(FORBID, BOB), AclChoice(HIDE, ANN), Acl(FORBID, BOB)),
        (AclChoice(None, BOB), AclChoice(HIDE, ANN), Acl(HIDE, BOB)),
        (AclChoice(None, BOB), AclChoice(None, ANN), Acl(ALLOW, BOB)),
        (AclChoice(None, BOB), UNSET, Acl(ALLOW, BOB)),
        (AclChoice(), AclChoice(HIDE, ANN), Acl(HIDE)),
    ],
)
def test_a_requested_acl_replaces_the_rules_and_falls_back_only_for_the_default(requested, account, expected):
    assert resolve(Lifecycle(acl=requested), Lifecycle(acl=account)).acl == expected


LIFETIMES = [UNSET, None, 60]
ACLS = [UNSET, AclChoice(), AclChoice(FORBID), AclChoice(None, ANN), AclChoice(HIDE, BOB)]


@pytest.mark.parametrize(("lifetime", "other"), list(product(LIFETIMES, LIFETIMES)))
@pytest.mark.parametrize(("acl", "other_acl"), list(product(ACLS, ACLS)))
def test_the_two_fields_are_resolved_apart(lifetime, other, acl, other_acl):
    both = resolve(Lifecycle(lifetime, acl), Lifecycle(other, other_acl))
    assert both.lifetime == resolve(Lifecycle(lifetime), Lifecycle(other)).lifetime
    assert both.acl == resolve(Lifecycle(acl=acl), Lifecycle(acl=other_acl)).acl


def test_what_nobody_said_is_public_for_ever():
    assert resolve(Lifecycle(), Lifecycle()) == Terms(None, Acl(ALLOW))


def test_an_explicit_null_is_not_the_same_as_silence():
    assert Lifecycle(None) != Lifecycle()


@given(st.integers(0, MAX_LIFETIME), st.integers(0, 2**33))
def test_life_starts_at_publish(lifetime, published_at):
    assert Terms(lifetime).expires_at(published_at) == published_at + lifetime


def test_for_ever_has_no_end():
    assert Terms(None).expires_at(1.0) is None
