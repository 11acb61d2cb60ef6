"""What a dynamic secret may choose, beside what every one may: an integration says so by a class. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from dynsecrets._internal.messages import did_you_mean, safe_repr
from dynsecrets.errors import DynsecretsError, InvalidConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: The key of a field's ``metadata`` that says: where it is text in a project's file, that is the name of a file.
FILE: Final = "dynsecrets.file"


@attrs.frozen(kw_only=True)
class SecretOptions:
    """The options of an integration's dynamic secrets; this class has none.

    An integration with options names a subclass as its ``options_type``: an attrs class with a field for each option,
    whose converters and validators check it.

    >>> import attrs
    >>> from dynsecrets import SecretOptions
    >>> @attrs.frozen(kw_only=True)
    ... class TokenOptions(SecretOptions):
    ...     scope: str = attrs.field(default="read", validator=attrs.validators.in_(["read", "write"]))
    >>> TokenOptions(scope="write")
    TokenOptions(scope='write')

    ``DynamicSecretConfig(…, scope="write")`` makes it then, and has it as ``config.options``. What a field raises as
    ``TypeError`` or ``ValueError`` reaches the caller as ``InvalidConfig``. No option may be a secret: options are
    compared, printed and quoted in messages. Options are shared between threads, so a frozen class is best.
    """


def option_fields(options_type: type[SecretOptions]) -> dict[str, attrs.Attribute[Any]]:
    """Return the fields of an options class that can be given, by the name they are given by."""
    return {field.alias or field.name: field for field in attrs.fields(options_type) if field.init}


def make_options(
    options_type: type[SecretOptions], given: Mapping[str, object], *, integration: str, others: Iterable[str] = ()
) -> SecretOptions:
    """Make the options of a dynamic secret.

    Args:
        options_type: The integration's class of options.
        given: The options by name.
        integration: The integration's name, for messages.
        others: The arguments that every config takes; one of them may have been meant.

    Raises:
        InvalidConfig: One of them is unknown, missing, or refused by its field.
    """
    fields = option_fields(options_type)
    takes = f"it takes the options {', '.join(sorted(fields))}" if fields else "it takes no options"
    for name in given:
        if name not in fields:
            # Arguments of AWS's are known words, and meant by nobody who is told that they are not options here.
            known = [word for word in (*fields, *others) if word != name]
            near = did_you_mean(name, known).partition("; there is")[0]
            raise InvalidConfig(f"the integration {integration!r} has no option {safe_repr(name)}{near}; {takes}")
    missing = [name for name, field in fields.items() if field.default is attrs.NOTHING and name not in given]
    if missing:
        raise InvalidConfig(f"the integration {integration!r} needs the option {' and '.join(missing)}; {takes}")
    try:
        return options_type(**given)
    except DynsecretsError:
        raise
    except (TypeError, ValueError) as exc:
        # Validators of attrs raise with the field beside the sentence.
        why = exc.args[0] if exc.args and isinstance(exc.args[0], str) else type(exc).__name__
        raise InvalidConfig(f"an option of the integration {integration!r} is not accepted: {why}") from exc
