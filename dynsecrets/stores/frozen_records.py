"""Records whose mappings can't be changed, so that who keeps them and those who get them can share them."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final, NoReturn

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dynsecrets.model.record import LeaseRecord

_SCALARS: Final = (str, int, float, bool, type(None))


class _Frozen(dict[str, Any]):
    """A dictionary that can't be changed: so the store and all that it is handed out to share it."""

    __slots__ = ()

    def _refuse(self, *_args: object, **_kwargs: object) -> NoReturn:
        raise TypeError("a record can't be changed; make a dict of its mapping, and change that")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


_EMPTY: Final = _Frozen()


def freeze(record: LeaseRecord) -> LeaseRecord:
    """Return the record with mappings that nobody can change from outside."""
    handle, metadata = record.handle, record.metadata
    if type(handle) is _Frozen and type(metadata) is _Frozen:
        return record
    if all(isinstance(value, _SCALARS) for value in metadata.values()):
        kept: Mapping[str, Any] = _Frozen(metadata) if metadata else _EMPTY
    else:
        kept = copy.deepcopy(dict(metadata))
    return attrs.evolve(record, handle=_Frozen(handle), metadata=kept)


def apart(record: LeaseRecord) -> LeaseRecord:
    """Return a record that shares nothing that can be changed with the kept one."""
    if type(record.metadata) is _Frozen:
        return record
    return attrs.evolve(record, metadata=copy.deepcopy(record.metadata))
