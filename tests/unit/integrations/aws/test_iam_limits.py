"""What IAM accepts for the options of a user: paths, prefixes, tags, groups and ARNs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsecrets._internal.messages import safe_repr
from dynsecrets.errors import InvalidConfig
from dynsecrets.integrations.aws.iam_limits import (
    MAX_PATH,
    check_groups,
    check_path,
    check_policy_arn,
    check_policy_arns,
    check_prefix,
    check_tags,
)
from support.strategies import garbage, wild_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ARN = "arn:aws:iam::aws:policy/ReadOnlyAccess"
OWN_ARN = "arn:aws:iam::123456789012:policy"
#: Of each kind of value, garbage of no kind.
NO_TEXT = [
    None,
    1,
    1.5,
    True,
    float("nan"),
    b"/dynsecrets/",
    ["x"],
    ("x",),
    {"x": "y"},
    object(),
    "\ud800",
    "é",
    "a\0b",
]


def check_user_prefix(prefix: object) -> str:
    """Check the prefix of a user's name."""
    return check_prefix(prefix, what="username_prefix", longest=64)


class TestPath:
    """The path is what keeps everyone else's users out of reach."""

    @pytest.mark.parametrize(
        "path", ["/dynsecrets/", "/a/b/c/", "/x!#$%'+,-.:;=@^_~/", "/" + "x" * (MAX_PATH - 2) + "/"]
    )
    def test_one_or_more_names_between_slashes(self, path: str) -> None:
        """A path of printable ASCII starts and ends with a slash and is at most 512 characters long."""
        assert check_path(path) == path

    @pytest.mark.parametrize(
        ("path", "why"),
        [
            ("dynsecrets", "it starts and ends with a slash, like '/dynsecrets/'"),
            ("/dynsecrets", "it starts and ends with a slash, like '/dynsecrets/'"),
            ("dynsecrets/", "it starts and ends with a slash, like '/dynsecrets/'"),
            ("//dynsecrets//", "it starts and ends with a slash, like '/dynsecrets/'"),
            ("a/b", "it starts and ends with a slash, like '/a/b/'"),
            ("/", "holds every user of the account"),
            ("", 'like "/dynsecrets/"'),
            ("//", 'like "/dynsecrets/"'),
            ("/*/", "holds a wildcard"),
            ("/dyn?ecrets/", "holds a wildcard"),
            ("/dynsecrets/*", "holds a wildcard"),
            ("/dyn secrets/", 'like "/dynsecrets/"'),
            ("/dynsecrets/\n", 'like "/dynsecrets/"'),
            ("/" + "x" * (MAX_PATH - 1) + "/", 'like "/dynsecrets/"'),
        ],
        ids=lambda text: text[:20],
    )
    def test_other_text_is_refused_with_the_right_form(self, path: str, why: str) -> None:
        """A path that isn't one is refused with what was given and the right form."""
        with pytest.raises(InvalidConfig) as caught:
            check_path(path)

        assert safe_repr(path) in str(caught.value) or path == "/"
        assert why in str(caught.value)

    @given(garbage | wild_text | st.from_regex(r"/?[a-z*?/ ]{0,10}/?", fullmatch=True))
    def test_no_accepted_path_reaches_further_than_itself(self, path: object) -> None:
        """Any object is refused with ``InvalidConfig``, or names one folder that isn't the root."""
        try:
            accepted = check_path(path)
        except InvalidConfig:
            return

        assert re.fullmatch(r"(/[\x21-\x7e]+)+/", accepted)
        assert not set(accepted) & set("*?")


class TestPrefix:
    """Prefixes of names that get a random ending."""

    @pytest.mark.parametrize("prefix", ["a", "Dynsecrets-Dynamic-", "+=,.@_-", "x" * 51])
    def test_what_leaves_room_for_the_ending(self, prefix: str) -> None:
        """Letters, digits and IAM's symbols are accepted as long as 13 more characters fit."""
        assert check_user_prefix(prefix) == prefix

    @pytest.mark.parametrize("prefix", ["", "a b", "a/b", "a*", "a\n", "ü-", "x" * 52, *NO_TEXT], ids=safe_repr)
    def test_everything_else_is_refused(self, prefix: object) -> None:
        """Another prefix is refused with what was given and the room that there is."""
        with pytest.raises(InvalidConfig) as caught:
            check_user_prefix(prefix)

        assert f"username_prefix {safe_repr(prefix)} is not accepted; give 1 to 51 letters" in str(caught.value)


class TestManagedPolicies:
    """ARNs of managed policies, to attach and as a boundary."""

    @pytest.mark.parametrize(
        "arn",
        [
            ARN,
            "arn:aws:iam::aws:policy/job-function/ViewOnlyAccess",
            "arn:aws-cn:iam::aws:policy/ReadOnlyAccess",
            "arn:aws-us-gov:iam::123456789012:policy/team/own+=,.@_-",
            f"{OWN_ARN}/{'x' * 128}",
        ],
    )
    def test_arns_of_managed_policies(self, arn: str) -> None:
        """Policies of AWS and of an account are accepted, in any partition and on any path."""
        assert check_policy_arn(arn, what="permissions_boundary") == arn

    @pytest.mark.parametrize(
        "arn",
        [
            *("", "ReadOnlyAccess", "arn:aws:iam::aws:policy", "arn:aws:iam::aws:policy/", f"{ARN} ", f"{ARN}\n"),
            *("arn:aws:iam::aws:role/Admin", "arn:aws:iam::12345:policy/x", "arn:aws:iam:us-east-1:aws:policy/x"),
            *("arn:gcp:iam::aws:policy/x", "arn:aws:iam::*:policy/x", f"{OWN_ARN}/{'x' * 129}", f"{OWN_ARN}/a b/c"),
            *NO_TEXT,
        ],
        ids=safe_repr,
    )
    def test_everything_else_is_refused(self, arn: object) -> None:
        """What is not the ARN of a managed policy is refused with what was given and an example."""
        with pytest.raises(InvalidConfig) as caught:
            check_policy_arn(arn, what="permissions_boundary")

        assert f"permissions_boundary {safe_repr(arn)} is not the ARN of a managed policy" in str(caught.value)

    def test_ten_are_accepted_and_no_more(self) -> None:
        """A user takes ten managed policies."""
        arns = [f"{OWN_ARN}/p{number}" for number in range(11)]

        assert check_policy_arns(arns[:10]) == tuple(arns[:10])
        with pytest.raises(InvalidConfig, match="managed_policy_arns has 11 entries; AWS accepts 10"):
            check_policy_arns(arns)

    def test_a_lone_text_is_not_taken_letter_by_letter(self) -> None:
        """A text in the place of a list is refused."""
        with pytest.raises(InvalidConfig, match="give a list or tuple"):
            check_policy_arns(ARN)

    def test_repeats_are_refused(self) -> None:
        """The same policy twice is a mistake."""
        with pytest.raises(InvalidConfig, match="holds an entry twice"):
            check_policy_arns([ARN, ARN])


class TestGroups:
    """Groups that a leased user joins."""

    def test_up_to_ten_names(self) -> None:
        """A user is in at most ten groups, named by letters, digits and IAM's symbols."""
        names = ["a", "Data+=,.@_-", "x" * 128, *(f"g{number}" for number in range(8))]

        assert check_groups(names[:10]) == tuple(names[:10])
        with pytest.raises(InvalidConfig, match="groups has 11 entries; AWS accepts 10"):
            check_groups(names)

    @pytest.mark.parametrize(
        "group",
        ["", "a b", "/path/group", "arn:aws:iam::123456789012:group/x", "a\n", "x" * 129, *NO_TEXT],
        ids=safe_repr,
    )
    def test_other_names_are_refused(self, group: object) -> None:
        """What is no name of a group is refused with what was given."""
        with pytest.raises(InvalidConfig) as caught:
            check_groups(["readers", group])

        assert f"group {safe_repr(group)} is not accepted" in str(caught.value)

    @pytest.mark.parametrize(
        "groups", [None, "readers", b"readers", {"readers"}, {"readers": 1}, 5, iter("ab")], ids=safe_repr
    )
    def test_what_is_no_list_is_refused(self, groups: object) -> None:
        """Only a list or a tuple has an order and can be read twice."""
        with pytest.raises(InvalidConfig, match="give a list or tuple of texts"):
            check_groups(groups)

    def test_names_differ_in_more_than_case(self) -> None:
        """IAM takes names that differ in case alone for the same."""
        with pytest.raises(InvalidConfig, match="case does not count"):
            check_groups(["Readers", "readers"])


class TestTags:
    """Tags of a leased user."""

    @pytest.mark.parametrize(
        "tags",
        [
            {},
            {"team": "data", "équipe": "données 2.0", "a_.:/=+-@ b": "_.:/=+-@ ", "空": ""},
            {"k" * 128: "v" * 256},
            {f"key{number}": "" for number in range(50)},
        ],
        ids=len,
    )
    def test_what_aws_takes(self, tags: Mapping[str, str]) -> None:
        """Up to 50 tags of letters, digits, blanks and some symbols are accepted; values may be empty."""
        assert check_tags(tags) == tags

    @pytest.mark.parametrize(
        "key", ["", "k" * 129, "a*b", "a#", "a\n", "a\0", 1, None, b"a", "\ud800", ("a",), "🔑"], ids=safe_repr
    )
    def test_other_keys_are_refused(self, key: object) -> None:
        """What is no tag key is refused with what was given."""
        with pytest.raises(InvalidConfig) as caught:
            check_tags({key: "value"})

        assert f"tag key {safe_repr(key)} is not accepted" in str(caught.value)

    @pytest.mark.parametrize(
        "value", ["v" * 257, "a*b", "a\n", "\0", 1, None, True, b"a", "\ud800", ["a"]], ids=safe_repr
    )
    def test_other_values_are_refused(self, value: object) -> None:
        """What is no tag value is refused with its key."""
        with pytest.raises(InvalidConfig) as caught:
            check_tags({"team": value})

        assert f"the value {safe_repr(value)} of the tag 'team' is not accepted" in str(caught.value)

    @pytest.mark.parametrize("key", ["aws:user", "AWS:user", "Aws:"])
    def test_keys_of_aws_are_refused(self, key: str) -> None:
        """Keys that AWS keeps for itself are refused, in any case."""
        with pytest.raises(InvalidConfig, match='keys that start with "aws:" are reserved'):
            check_tags({key: "x"})

    def test_fifty_are_the_most(self) -> None:
        """The 51st tag is refused."""
        with pytest.raises(InvalidConfig, match="tags has 51 entries; AWS accepts 50"):
            check_tags({f"key{number}": "" for number in range(51)})

    def test_keys_differ_in_more_than_case(self) -> None:
        """IAM takes keys that differ in case alone for the same."""
        with pytest.raises(InvalidConfig, match="case does not count"):
            check_tags({"Team": "a", "team": "b"})

    @pytest.mark.parametrize("tags", [None, [("team", "data")], "team", 5, {"team"}], ids=safe_repr)
    def test_what_is_no_mapping_is_refused(self, tags: object) -> None:
        """Tags are a mapping."""
        with pytest.raises(InvalidConfig, match="not a mapping"):
            check_tags(tags)


CHECKS: Sequence[Callable[[Any], Any]] = [check_path, check_user_prefix, check_policy_arns, check_groups, check_tags]


@pytest.mark.parametrize("check", CHECKS)
@given(thing=garbage | st.lists(wild_text, max_size=12) | st.dictionaries(wild_text, wild_text, max_size=3))
def test_nothing_but_invalid_config_is_raised(check: Callable[[Any], Any], thing: object) -> None:
    """Any object is accepted as it is or raises ``InvalidConfig``."""
    try:
        accepted = check(thing)
    except InvalidConfig:
        return

    assert accepted == (tuple(thing) if isinstance(thing, list) else thing)
