"""Which class an integration of a kind is of: the library's own, and those that other distributions declare.

A distribution declares its integrations as entry points of the group ``dynsecrets.integrations``: the kind, and the
class. They are loaded when they are asked for.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Final

from dynsecrets._internal.messages import did_you_mean, safe_repr
from dynsecrets.errors import InvalidConfig
from dynsecrets.model.integration import Integration

GROUP: Final = "dynsecrets.integrations"
_BUILT_IN: Final = {"aws-iam": "dynsecrets.integrations.aws.iam_users:AwsIamIntegration"}


def integration_kinds() -> list[str]:
    """Return the kinds of integrations that are installed, sorted."""
    return sorted({*_BUILT_IN, *(found.name for found in entry_points(group=GROUP))})


def integration_class(kind: str) -> type[Integration]:
    """Return the class of the integrations of a kind.

    Args:
        kind: What ``type`` in ``dynsecrets.toml`` says, like ``"aws-iam"``.

    Raises:
        InvalidConfig: No installed distribution has it, or it can't be loaded.
    """
    if kind in _BUILT_IN:
        declared = EntryPoint(kind, _BUILT_IN[kind], GROUP)
    else:
        found = tuple(entry_points(group=GROUP, name=kind))
        if not found:
            raise InvalidConfig(f"unknown type {safe_repr(kind)}{did_you_mean(kind, integration_kinds())}")
        declared = found[0]
    try:
        loaded = declared.load()
    except Exception as exc:
        raise InvalidConfig(f"the integration {safe_repr(kind)} ({declared.value}) can't be loaded: {exc}") from exc
    if not (isinstance(loaded, type) and issubclass(loaded, Integration)):
        raise InvalidConfig(f"the integration {safe_repr(kind)} ({declared.value}) is not a subclass of Integration")
    return loaded
