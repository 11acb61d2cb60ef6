"""What an answer of AWS says, whichever service gave it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from dynsecrets._aws.error_codes import code_of, service_date, text_of


def answered(**error: Any) -> ClientError:
    """Return the error of an answer."""
    response: Any = {"Error": error}
    return ClientError(response, "CreateUser")


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (answered(Code="AccessDenied", Message="no"), "AccessDenied", "AccessDenied: no"),
        (answered(Code="ConcurrentModification", Message=None), "ConcurrentModification", "ConcurrentModification"),
        (answered(Code="", Message=""), None, ""),
        (answered(), None, ""),
        (OSError("no network"), None, ""),
    ],
)
def test_code_and_text_are_the_services_own(error: Exception, code: str | None, text: str) -> None:
    """What the service left empty isn't made up, nor called "None"."""
    assert code_of(error) == code
    assert text_of(error) == text


@pytest.mark.parametrize("response", [None, {}, {"ResponseMetadata": {"HTTPHeaders": {"date": "soon"}}}])
def test_an_answer_without_a_date_tells_no_time(response: dict[str, Any] | None) -> None:
    """A date that is missing, or can't be read, is not an error."""
    assert service_date(response) is None


def test_the_date_is_the_services_own() -> None:
    """The Date header of an answer, aware."""
    response = {"ResponseMetadata": {"HTTPHeaders": {"date": "Tue, 15 Feb 2022 17:04:54 GMT"}}}

    assert service_date(response) == datetime(2022, 2, 15, 17, 4, 54, tzinfo=UTC)
