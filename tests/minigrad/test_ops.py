"""Every registered op keeps every law at every level it has; adding an op adds its tests."""
import pytest

import minigrad  # noqa: F401  (registers the ops)
from minigrad.tensor import OPS
from minigrad.testing import check_op
from minigrad.testing.adapters import levels

BODIES = [(name, level) for name, op in sorted(OPS.items()) for level in levels(op)]


@pytest.mark.parametrize("name, level", BODIES, ids=[f"{n}-{level}" for n, level in BODIES])
def test_op_keeps_every_law(name, level):
    report = check_op(OPS[name], level=level, verbose=False)
    assert report.kinks < 0.2, f"declare a domain without kinks: {report}"
    assert report.tally["slopes"] > 0
