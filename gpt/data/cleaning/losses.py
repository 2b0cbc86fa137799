"""What could not be read, and why: told in place of the documents, and counted like them."""
from typing import NamedTuple

MOST_BYTES = 1 << 24               # of a document; a longer one is left out


class Loss(NamedTuple):
    """What could not be read, and why."""

    source: str                    # the name of a file
    place: str                     # in it; empty for all that is left of it
    reason: str
