"""Every registered op keeps every law at every level it has; adding an op adds its tests."""
import pytest

import minigrad  # noqa: F401  (registers the ops)
from minigrad.tensor import OPS
from minigrad.testing import check_op
from minigrad.testing.adapters import levels


@pytest.mark.parametrize("name", sorted(OPS))
def test_op_keeps_every_law(name):
    report = check_op(OPS[name], verbose=False)
    assert report.kinks < 0.2, f"declare a domain without kinks: {report}"
    assert report.tally["slopes"] > 0
    assert set(report.examples) == set(levels(OPS[name]))
