"""Who may read: all combinations of a default and two rules (docs/threats.md D06, D08; docs/protocol.md 4.4)."""

from itertools import permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrepot.domain.acl import ANONYMOUS, PUBLIC, Acl, Decision, Principal, Rule, decide

ALLOW, FORBID, HIDE = Decision.ALLOW, Decision.FORBID, Decision.HIDE
ALL_27 = list(product(Decision, Decision, Decision))
RANK = {ALLOW: 0, FORBID: 1, HIDE: 2}


def acl(default: Decision, **rules: Decision) -> Acl:
    return Acl(default, tuple(Rule(user, decision) for user, decision in rules.items()))


@pytest.mark.parametrize(("default", "ann", "bob"), ALL_27)
def test_each_reader_gets_the_decision_that_names_it(default, ann, bob):
    rules = acl(default, ann=ann, bob=bob)
    assert decide(rules, "owner", ["ann"]) is ann
    assert decide(rules, "owner", ["bob"]) is bob
    assert decide(rules, "owner", ["carol"]) is default
    assert decide(rules, "owner", []) is default


@pytest.mark.parametrize(("default", "ann", "bob"), ALL_27)
def test_of_several_identities_the_most_permissive_wins(default, ann, bob):
    best = min(ann, bob, key=RANK.__getitem__)
    for order in permutations(["ann", "bob", "carol"]):
        assert decide(acl(default, ann=ann, bob=bob), "owner", order) is best


@pytest.mark.parametrize(("default", "first", "second"), ALL_27)
def test_of_two_rules_for_one_user_the_most_permissive_wins(default, first, second):
    rules = Acl(default, (Rule("ann", first), Rule("ann", second)))
    assert decide(rules, "owner", ["ann"]) is min(first, second, key=RANK.__getitem__)


@pytest.mark.parametrize(("default", "rule", "other"), ALL_27)
def test_the_owner_always_reads(default, rule, other):
    for identities in (["owner"], ["ann", "owner"], ["owner", "ann"]):
        assert decide(acl(default, owner=rule, ann=other), "owner", identities) is ALLOW


def test_a_rule_may_be_stricter_or_milder_than_the_default():
    assert decide(acl(ALLOW, ann=HIDE), "owner", ["ann"]) is HIDE
    assert decide(acl(HIDE, ann=ALLOW), "owner", ["ann"]) is ALLOW


def test_everybody_reads_what_nobody_restricted():
    assert Acl() == PUBLIC
    assert decide(PUBLIC, "owner", []) is ALLOW


USERS = st.sampled_from(["ann", "bob", "carol", "owner"])
RULES = st.lists(st.builds(Rule, USERS, st.sampled_from(Decision)), max_size=6)


@given(st.sampled_from(Decision), RULES, st.lists(USERS), st.randoms())
def test_the_order_of_rules_and_identities_does_not_matter(default, rules, identities, source):
    expected = decide(Acl(default, tuple(rules)), "owner", identities)
    source.shuffle(rules)
    source.shuffle(identities)
    assert decide(Acl(default, tuple(rules)), "owner", iter(identities)) is expected


@given(st.sampled_from(Decision), RULES, st.lists(USERS))
def test_an_identity_that_no_rule_names_changes_nothing(default, rules, identities):
    rule_set = Acl(default, tuple(rules))
    assert decide(rule_set, "owner", [*identities, "stranger"]) is decide(rule_set, "owner", identities)


@pytest.mark.parametrize(
    ("principal", "ids"),
    [
        (ANONYMOUS, ()),
        (Principal("ann"), ("ann",)),
        (Principal("ann", "key1"), ("ann",)),
        (Principal(None, "key1"), ()),
        (Principal(""), ()),
        (Principal("ann", "key1", upload_path="/files/b/x/y"), ()),
        (Principal("ann", upload_path=""), ()),
    ],
)
def test_an_upload_signature_reads_nothing(principal, ids):
    assert principal.reader_ids == ids
