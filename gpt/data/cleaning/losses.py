"""What could not be read or is no document, and why: told in the place of one, and counted."""
from typing import NamedTuple

MOST_BYTES = 1 << 24               # of a document; a longer one is left out


class Loss(NamedTuple):
    """What could not be read, and why."""

    source: str                    # the name of a file
    place: str                     # in it; empty for all that is left of it
    reason: str


class LeftOut(NamedTuple):
    """What can be read and is no document."""

    source: str
    place: str
    reason: str
