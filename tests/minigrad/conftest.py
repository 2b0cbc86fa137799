"""Records that several tests of the stepper draw, on their pages."""
import pytest
from expressions import gpt_step, neuron

from minigrad import Tensor
from minigrad.stepper.example import doubled
from minigrad.stepper.record import record


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    records = {"neuron": neuron(), "gpt": gpt_step(),
               "doubled": record(doubled, a=Tensor(1.0, requires_grad=True))}
    for name, t in records.items():
        t.html(folder / f"{name}.html")
    return folder, records
