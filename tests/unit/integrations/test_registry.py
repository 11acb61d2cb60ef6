"""Which class an integration of a kind is of."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING

import pytest

from dynsecrets import Integration, InvalidConfig
from dynsecrets.integrations import registry
from dynsecrets.integrations.registry import GROUP, integration_class, integration_kinds
from support.fakes import FakeIntegration

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(name="declare")
def declare_fixture(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Declare integrations as an installed distribution does."""
    declared: list[EntryPoint] = []

    def entry_points(*, group: str, name: str | None = None) -> list[EntryPoint]:
        assert group == GROUP == "dynsecrets.integrations"
        return [found for found in declared if name in (None, found.name)]

    monkeypatch.setattr(registry, "entry_points", entry_points)
    return lambda kind, value: declared.append(EntryPoint(kind, value, GROUP))


def test_the_librarys_own_kinds_are_known() -> None:
    """IAM users need no declaration, and the kind is what the class says of itself."""
    found = integration_class("aws-iam")

    assert type(Integration.aws_iam()) is found
    assert found.kind == "aws-iam"
    assert "aws-iam" in integration_kinds()


def test_a_class_can_be_made_of_its_name_alone() -> None:
    """A table of a project file has the arguments of the class; those of AWS are all optional."""
    made = integration_class("aws-iam")("mine", region="eu-central-1")  # type: ignore[call-arg]

    assert repr(made) == repr(Integration.aws_iam("mine", region="eu-central-1"))


def test_third_parties_declare_theirs(declare: Callable[[str, str], None]) -> None:
    """An entry point names a class by its kind."""
    declare("fake", "support.fakes:FakeIntegration")

    assert integration_class("fake") is FakeIntegration
    assert integration_kinds() == ["aws-iam", "fake"]


def test_nobody_takes_the_place_of_the_librarys_own(declare: Callable[[str, str], None]) -> None:
    """A declaration of ``aws-iam`` by somebody else isn't loaded."""
    declare("aws-iam", "support.fakes:FakeIntegration")

    assert integration_class("aws-iam") is not FakeIntegration


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("aws_iam", "unknown type 'aws_iam'; did you mean aws-iam?"),
        ("gone", "'gone' (no_such_module:Thing) can't be loaded"),
        ("other", "'other' (json:dumps) is not a subclass of Integration"),
    ],
)
def test_what_is_no_integration_is_refused(declare: Callable[[str, str], None], kind: str, why: str) -> None:
    """The message says what was given and which kind was meant, or what is wrong with what was found."""
    declare("gone", "no_such_module:Thing")
    declare("other", "json:dumps")

    with pytest.raises(InvalidConfig) as caught:
        integration_class(kind)

    assert why in str(caught.value)
