"""Policy documents: their grammar, their size as AWS counts it, the forms they are given in, and the expiry guard."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynsecrets._internal.messages import safe_repr
from dynsecrets.errors import InvalidConfig
from dynsecrets.integrations.aws.policy_document import SIZE_LIMIT, PolicyDocument, check_size, render, size
from support.aws_documents import DOCUMENTS
from support.strategies import HUGE, damaged_policies, garbage, moments, policies, wild_text

MOMENT = datetime(2022, 2, 15, 17, 4, 54, 782_000, tzinfo=UTC)
ALLOW = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::reports/*"}
VALID = {"Version": "2012-10-17", "Statement": [ALLOW]}


def with_statement(**changes: Any) -> dict[str, Any]:
    """Return a document of one statement with other elements; those given as ``None`` are left out."""
    statement = {key: value for key, value in (ALLOW | changes).items() if value is not None}
    return {"Version": "2012-10-17", "Statement": [statement]}


def with_condition(condition: Any) -> dict[str, Any]:
    """Return a document of one statement with a condition block."""
    return with_statement(Condition=condition)


def of_size(characters: int, *, guarded: bool) -> PolicyDocument:
    """Return a document that is so long as it is attached, without white space."""
    empty = size(render(PolicyDocument(with_statement(Sid="")), MOMENT if guarded else None) or "")
    return PolicyDocument(with_statement(Sid="x" * (characters - empty)))


class TestGrammar:
    """What is a policy of users and what isn't."""

    @pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
    def test_the_policies_of_the_user_guide_are_accepted(self, document: dict[str, Any]) -> None:
        """Documents as AWS's documentation writes them are accepted as they are."""
        parsed = PolicyDocument.parse(document)

        assert parsed == document
        assert json.loads(parsed.text) == document

    @pytest.mark.parametrize(
        "document",
        [
            {"Statement": [ALLOW]},
            {"Version": "2012-10-17", "Statement": ALLOW},
            with_statement(Action=["s3:Get*", "s3:???Object", "*"]),
            with_statement(Action=None, NotAction="iam:*"),
            with_statement(Resource=None, NotResource="arn:aws:s3:::private/*"),
            with_statement(Resource=["*", "arn:aws-us-gov:iam::123456789012:user/a:b/c"]),
            with_statement(Sid=""),
            with_statement(Sid="Read1"),
            with_condition({}),
            with_condition({"stringequals": {"aws:PrincipalTag/équipe": "données"}}),
            with_condition({"ForAnyValue:ArnNotEqualsIfExists": {"aws:SourceArn": ["arn:aws:s3:::a"]}}),
            with_condition({"NumericGreaterThanEquals": {"s3:max-keys": 10}, "Bool": {"aws:SecureTransport": True}}),
            {"Statement": [{**ALLOW, "Sid": ""}, {**ALLOW, "Sid": ""}]},
        ],
        ids=json.dumps,
    )
    def test_every_form_of_an_element_is_accepted(self, document: dict[str, Any]) -> None:
        """Elements may be left out, be one or many, and be written in each way that the grammar has."""
        assert PolicyDocument.parse(document) == document

    @pytest.mark.parametrize(
        ("document", "why"),
        [
            ({}, '"Statement" must be a statement or a list of at least one'),
            ({"Version": "2012-10-17"}, '"Statement" must be'),
            ({"Statement": []}, "for no permissions leave the policy out"),
            ({"Statement": "Allow"}, '"Statement" must be'),
            ({"Statement": [[ALLOW]]}, "statement 1 is of type list, not an object"),
            ({"Statement": [ALLOW, None]}, "a value in it is None"),
            ({"Statement": [ALLOW, "x"]}, "statement 2 is 'x', not an object"),
            ({**VALID, "Version": "2012-10-18"}, "\"Version\" is '2012-10-18'; accepted are"),
            ({**VALID, "Version": 20121017}, '"Version" is 20121017'),
            ({**VALID, "Version": ["2012-10-17"]}, '"Version" is of type list'),
            ({**VALID, "Id": 5}, '"Id" must be text'),
            ({**VALID, "Statements": []}, "'Statements' is not an element of a policy"),
            ({**VALID, "statement": []}, "'statement' is not an element of a policy"),
            (dict[object, object]({5: []}), "the key 5 is not text"),
            (with_statement(Principal="*"), '"Principal", which the policies of users don\'t take'),
            (with_statement(NotPrincipal={"AWS": "*"}), '"NotPrincipal", which'),
            (with_statement(Actions="s3:*"), "'Actions', which is not an element of a statement"),
            (with_statement(Effect="allow"), "\"Effect\" 'allow'; accepted are"),
            (with_statement(Effect=None), '"Effect" None'),
            (with_statement(Effect=["Allow"]), '"Effect" of type list'),
            (with_statement(Sid="Read it"), "\"Sid\" 'Read it'; accepted are letters and digits"),
            (with_statement(Sid=1), '"Sid" 1'),
            ({"Statement": [{**ALLOW, "Sid": "A"}, {**ALLOW, "Sid": "A"}]}, "\"Sid\" 'A' stands in two statements"),
            (with_statement(Action=None), 'must have either "Action" or "NotAction"'),
            (with_statement(NotAction="s3:*"), 'must have either "Action" or "NotAction"'),
            (with_statement(Resource=None), 'must have either "Resource" or "NotResource"'),
            (with_statement(NotResource="*"), 'must have either "Resource" or "NotResource"'),
            (with_statement(Action=[]), '"Action" of type list; accepted are text or a list of at least one text'),
            (with_statement(Action=["s3:*", 5]), '"Action" of type list'),
            (with_statement(Action={"s3": "*"}), '"Action" of type dict'),
            (with_statement(Action=""), "\"Action\" ''"),
            (with_statement(Action="GetObject"), "\"Action\" 'GetObject'; accepted are"),
            (with_statement(Action="s3:"), "\"Action\" 's3:'"),
            (with_statement(Action="s3:Get Object"), "\"Action\" 's3:Get Object'"),
            (with_statement(Action=["s3:*", "s3:a:b"]), "\"Action\" 's3:a:b'"),
            (with_statement(Action="s3:*\n"), "\"Action\" 's3:*\\n'"),
            (with_statement(Resource=""), "\"Resource\" ''"),
            (with_statement(Resource="reports"), '"Resource" \'reports\'; accepted are "*" and ARNs'),
            (with_statement(Resource="arn:aws:s3"), "\"Resource\" 'arn:aws:s3'"),
            (with_statement(Resource="arn:aws:s3:::"), "\"Resource\" 'arn:aws:s3:::'"),
            (with_statement(Resource=[["*"]]), '"Resource" of type list'),
            (with_condition([]), '"Condition" that is of type list, not an object'),
            (with_condition("x"), "\"Condition\" that is 'x'"),
            (with_condition({"StringIs": {}}), "'StringIs', which IAM doesn't know"),
            (with_condition({"": {}}), "the condition operator ''"),
            (with_condition({"ForSomeValues:StringEquals": {}}), "which IAM doesn't know"),
            (with_condition({"NullIfExists": {}}), "which IAM doesn't know"),
            (with_condition({"StringEquals": "x"}), "'StringEquals' that is 'x', not an object"),
            (with_condition({"StringEquals": {"": "x"}}), "with an empty key"),
            (with_condition({"StringEquals": {"a": {"b": "c"}}}), "on 'a' with a value of type dict"),
            (with_condition({"StringEquals": {"a": [["b"]]}}), "on 'a' with a value of type list"),
            (with_condition({"StringEquals": {"a": float("nan")}}), "a value in it is nan"),
            (with_condition({"StringEquals": {"a": float("-inf")}}), "a value in it is -inf"),
            (with_condition({"StringEquals": {"a": b"b"}}), "a value in it is b'b'"),
            (with_condition({"StringEquals": {"a": {"b"}}}), "a value in it is of type set"),
            (with_condition({"NumericEquals": {"a": HUGE}}), "(an integer of thousands of digits)"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_everything_else_is_refused(self, document: Any, why: str) -> None:
        """What AWS would refuse is refused with the reason."""
        with pytest.raises(InvalidConfig) as caught:
            PolicyDocument.parse(document)

        assert str(caught.value).startswith("policy is not accepted: ")
        assert why in str(caught.value)

    @given(policies())
    def test_valid_documents_are_accepted_and_kept(self, document: dict[str, Any]) -> None:
        """Any document in the grammar is accepted, equals what it was made from, and is JSON that IAM can read."""
        parsed = PolicyDocument.parse(document)

        assert parsed == document
        assert json.loads(parsed.text) == document
        assert all(char in "\t\n\r" or "\x20" <= char <= "\xff" for char in parsed.text)

    @given(damaged_policies() | garbage)
    def test_nothing_but_invalid_config_is_raised(self, document: Any) -> None:
        """Any object is a policy that can be written as JSON and read again, or ``InvalidConfig``."""
        try:
            parsed = PolicyDocument.parse(document)
        except InvalidConfig:
            return

        assert PolicyDocument.parse(parsed.text) == parsed


class TestForms:
    """What a policy may be given as."""

    @pytest.mark.parametrize("text", [json.dumps(VALID), json.dumps(VALID, indent=4), f"\n\t {json.dumps(VALID)} \r\n"])
    def test_json_text(self, text: str) -> None:
        """JSON text in any layout is the document that it spells."""
        assert PolicyDocument.parse(text) == VALID

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
    def test_a_file(self, tmp_path: Path, encoding: str) -> None:
        """A path is read as JSON, with a byte order mark or without."""
        file = tmp_path / "policy.json"
        file.write_text(json.dumps(VALID | {"Id": "é"}, ensure_ascii=False), encoding=encoding)

        assert PolicyDocument.parse(file) == VALID | {"Id": "é"}

    def test_a_document_is_taken_as_it_is(self) -> None:
        """A document that was checked is not checked again."""
        document = PolicyDocument(VALID)

        assert PolicyDocument.parse(document) is document

    def test_any_mapping(self) -> None:
        """A mapping need not be a ``dict``, nor its lists lists."""
        document = MappingProxyType({"Statement": (MappingProxyType(ALLOW),)})

        assert PolicyDocument.parse(document) == {"Statement": [ALLOW]}

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("", "it is not valid JSON"),
            ("policy.json", "for a file give a pathlib.Path"),
            ("/etc/policy.json", "for a file give a pathlib.Path"),
            ("{", "it is not valid JSON"),
            ("[]", "it is of type list; give a mapping"),
            ("null", "it is None; give a mapping"),
            ('"text"', "it is 'text'; give a mapping"),
            ("NaN", "it is nan; give a mapping"),
            (f'{{"Statement": {"9" * 5_000}}}', "it is not valid JSON"),
            ('{"Statement": 1e999}', "a value in it is inf"),
            ("[" * 100_000, "nested too deeply"),
            ('{"a":' * 100_000, "nested too deeply"),
            ('{"Statement": [], "Statement": []}', "the key 'Statement' stands twice"),
            ("\ufeff" + json.dumps(VALID), "it is not valid JSON"),
            (json.dumps(VALID) + json.dumps(VALID), "it is not valid JSON"),
            ("{'Version': '2012-10-17'}", "it is not valid JSON"),
        ],
        ids=lambda text: text[:40],
    )
    def test_other_text_is_refused(self, text: str, why: str) -> None:
        """Text that is no document is refused with the reason."""
        with pytest.raises(InvalidConfig) as caught:
            PolicyDocument.parse(text)

        assert why in str(caught.value)

    def test_repeated_keys_are_found_in_large_objects(self) -> None:
        """Looking for repeated keys takes no longer than reading them."""
        text = json.dumps({f"key{number}": 0 for number in range(200_000)})

        with pytest.raises(InvalidConfig, match="is not an element of a policy"):
            PolicyDocument.parse(text)

    @pytest.mark.parametrize("given_value", [None, 5, 1.5, True, b"{}", [VALID], {1, 2}, object()], ids=safe_repr)
    def test_other_objects_are_refused(self, given_value: object) -> None:
        """What is neither a mapping, nor text, nor a path is refused with what is accepted."""
        with pytest.raises(InvalidConfig, match=r"give a mapping, or a JSON string or pathlib\.Path"):
            PolicyDocument.parse(given_value)

    @given(wild_text | st.from_regex(r'[\[\]{}":,\s0-9a-zA-Z]{0,30}'))
    def test_text_raises_nothing_but_invalid_config(self, text: str) -> None:
        """Any text is refused with ``InvalidConfig`` unless it is a document."""
        with pytest.raises(InvalidConfig):
            PolicyDocument.parse(text)

    def test_files_that_cannot_be_read_are_named(self, tmp_path: Path) -> None:
        """A missing file, a folder and bytes that are not UTF-8 are refused with the path."""
        garbled = tmp_path / "garbled.json"
        garbled.write_bytes(b'{"Version": "\xff"}')

        for path in (tmp_path / "missing.json", tmp_path, garbled):
            with pytest.raises(InvalidConfig, match="can't be read") as caught:
                PolicyDocument.parse(path)
            assert path.name in str(caught.value)
            assert caught.value.__cause__ is not None

    @pytest.mark.parametrize("path", [Path("policy\0.json"), Path("policy\ud800.json")], ids=ascii)
    def test_paths_that_no_file_can_have_are_refused(self, path: Path) -> None:
        """A path that the system can't even be asked for is refused like a missing one."""
        with pytest.raises(InvalidConfig, match="can't be read"):
            PolicyDocument.parse(path)

    def test_what_nests_without_end_is_refused(self) -> None:
        """A mapping that holds itself is refused."""
        document: dict[str, Any] = {"Version": "2012-10-17"}
        document["Statement"] = document

        with pytest.raises(InvalidConfig, match="nested too deeply"):
            PolicyDocument.parse(document)


class TestDocument:
    """A document once it was accepted."""

    def test_it_does_not_follow_the_mapping_it_was_made_from(self) -> None:
        """Changing what was given afterwards changes nothing of what was checked."""
        given_mapping = copy.deepcopy(VALID)
        document = PolicyDocument.parse(given_mapping)

        given_mapping["Statement"][0]["Action"] = "*"  # type: ignore[index]

        assert document == VALID

    def test_what_is_taken_out_is_a_copy(self) -> None:
        """Changing what was taken out changes nothing of what was checked."""
        document = PolicyDocument.parse(VALID)

        document["Statement"][0]["Action"] = "*"
        dict(document)["Statement"].append({})

        assert document == VALID
        assert json.loads(document.text) == VALID

    def test_it_cannot_be_changed(self) -> None:
        """It has no way to set an element or an attribute of one's own."""
        document: Any = PolicyDocument.parse(VALID)

        with pytest.raises(TypeError):
            document["Statement"] = []
        with pytest.raises(AttributeError):
            document.extra = 1

    def test_equal_documents_are_equal_and_hash_alike(self) -> None:
        """The order of elements does not count, their content does."""
        document = PolicyDocument.parse(VALID)
        turned = PolicyDocument.parse(dict(reversed(VALID.items())))

        assert document == turned == VALID
        assert hash(document) == hash(turned)
        assert document != PolicyDocument.parse(with_statement(Action="*"))

    def test_numbers_and_booleans_that_are_equal_hash_alike(self) -> None:
        """Python takes 1 and ``True`` for equal, so documents with them are, and hash alike."""
        one, true = (PolicyDocument.parse(with_condition({"Bool": {"a": value}})) for value in (1, True))

        assert one == true
        assert hash(one) == hash(true)

    def test_its_repr_shows_it(self) -> None:
        """A document is no secret."""
        assert (
            repr(PolicyDocument({"Statement": ALLOW})) == f"PolicyDocument({PolicyDocument({'Statement': ALLOW}).text})"
        )


class TestSize:
    """AWS's limit for the inline policies of a user."""

    def test_white_space_does_not_count(self) -> None:
        """Blanks, tabs and line ends are left out, those within texts too."""
        assert size('{ "a b":\r\n\t"c d" }') == len('{"ab":"cd"}')

    def test_what_is_no_white_space_for_json_counts(self) -> None:
        """A no-break space is a character like any other: who left it out would find out from AWS."""
        assert size("a\u00a0b\u0085c") == 5

    @pytest.mark.parametrize("guarded", [False, True])
    def test_the_limit_itself_is_accepted(self, guarded: bool) -> None:
        """2,048 characters are accepted, the guard counted where it is attached."""
        check_size(of_size(SIZE_LIMIT, guarded=guarded), guarded=guarded, example=MOMENT)

    @pytest.mark.parametrize(("guarded", "guard"), [(False, ""), (True, ", the expiry guard included")])
    def test_one_more_is_refused(self, guarded: bool, guard: str) -> None:
        """2,049 characters are refused with the count, the limit and what to do."""
        with pytest.raises(
            InvalidConfig, match=f"it has 2,049 characters without white space{guard}, and AWS accepts 2,048"
        ):
            check_size(of_size(SIZE_LIMIT + 1, guarded=guarded), guarded=guarded, example=MOMENT)

    def test_the_guard_has_its_price(self) -> None:
        """A document that just fits by itself does not fit with the guard."""
        with pytest.raises(InvalidConfig, match="guard included"):
            check_size(of_size(SIZE_LIMIT, guarded=False), guarded=True, example=MOMENT)

    @pytest.mark.parametrize("guarded", [False, True])
    def test_no_policy_always_fits(self, guarded: bool) -> None:
        """Without a policy there is at most the guard."""
        check_size(None, guarded=guarded, example=MOMENT)

    @given(moments, moments)
    def test_the_guard_is_as_long_at_any_time(self, one: datetime, other: datetime) -> None:
        """What fits when a config is made fits whenever it is leased."""
        assert len(render(None, one) or "") == len(render(None, other) or "")


class TestGuard:
    """The statement that ends a lease even if nobody comes back."""

    def test_it_is_the_last_statement(self) -> None:
        """The guard denies everything from the first whole second after the expiration on, behind all else."""
        rendered = json.loads(render(PolicyDocument(VALID), MOMENT) or "")

        assert rendered == {
            "Version": "2012-10-17",
            "Statement": [
                ALLOW,
                {
                    "Effect": "Deny",
                    "Action": "*",
                    "Resource": "*",
                    "Condition": {"DateGreaterThan": {"aws:CurrentTime": "2022-02-15T17:04:55Z"}},
                },
            ],
        }

    def test_it_stands_alone_without_a_policy(self) -> None:
        """Where there is no policy the guard is the document."""
        rendered = json.loads(render(None, MOMENT) or "")

        assert rendered["Version"] == "2012-10-17"
        assert [statement["Effect"] for statement in rendered["Statement"]] == ["Deny"]

    def test_a_lone_statement_becomes_a_list(self) -> None:
        """A statement that isn't in a list is kept, before the guard."""
        rendered = json.loads(render(PolicyDocument({"Statement": ALLOW}), MOMENT) or "")

        assert rendered["Statement"][0] == ALLOW
        assert [statement["Effect"] for statement in rendered["Statement"]] == ["Allow", "Deny"]

    def test_a_version_is_never_made_up(self) -> None:
        """A document without a version is read by the old rules, and stays so: its variables are plain text."""
        assert "Version" not in json.loads(render(PolicyDocument({"Statement": [ALLOW]}), MOMENT) or "")

    def test_without_it_the_document_is_attached_as_it_is(self) -> None:
        """With no guard there is just the policy, or nothing."""
        assert render(PolicyDocument(VALID), None) == PolicyDocument(VALID).text
        assert render(None, None) is None

    @given(policies(), moments)
    def test_it_ends_any_policy_in_time(self, document: dict[str, Any], expires_at: datetime) -> None:
        """In any document the guard is last; it is never earlier than the expiration nor a second later."""
        parsed = PolicyDocument.parse(document)
        *kept, guard = json.loads(render(parsed, expires_at) or "")["Statement"]
        until = datetime.fromisoformat(guard["Condition"]["DateGreaterThan"]["aws:CurrentTime"])
        statements = document["Statement"]

        assert kept == (statements if isinstance(statements, list) else [statements])
        assert guard["Effect"] == "Deny"
        assert until.microsecond == 0
        assert timedelta(0) <= until - expires_at < timedelta(seconds=1)
        assert parsed == document
