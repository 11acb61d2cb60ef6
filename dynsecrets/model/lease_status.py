"""What came of a lease, for all who have to do with it: the one who revokes it, and the one who has it."""

from __future__ import annotations


class LeaseStatus:
    """What came of a lease, which the one who revokes it notes and the lease shows.

    Attributes:
        revoked: Whether the credential works no more.
        released: Whether it was given back, and works until it ends by itself.
    """

    __slots__ = ("released", "revoked")

    def __init__(self) -> None:
        self.revoked: bool = False
        self.released: bool = False
