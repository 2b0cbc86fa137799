"""In one step each rank notes what it does, and the steps are what they would be without."""
from types import SimpleNamespace

import numpy as np

from gpt.show.noted_step import bubble_told, kept_formula, write_timeline
from gpt.training.parallel.schedules import SCHEDULES, laid_out
from gpt.training.parallel.timeline import Noted, filled, steps_noted
from gpt.training.parallel.world import MEANWHILE, Alone
from gpt.training.plan import Plan
from gpt.training.run import Run
from gpt.training.step import train_steps
from minigrad import Tensor


def test_what_is_between_is_computed():
    events = [("wait", "sum", 1.0, 2.0), ("communicate", "sum", 2.0, 4.0),
              ("communicate", MEANWHILE, 0.5, 1.5)]
    assert sorted(filled(events, 5.0), key=lambda event: event[2:]) == [
        ("compute", "compute", 0.0, 1.0), ("communicate", MEANWHILE, 0.5, 1.5),
        ("wait", "sum", 1.0, 2.0), ("communicate", "sum", 2.0, 4.0),
        ("compute", "compute", 4.0, 5.0)]
    assert filled([], 2.0) == [("compute", "compute", 0.0, 2.0)]


def test_parts_of_a_world_note_and_count_with_the_whole():
    world, part = Alone(), Alone()
    part.pulse = world.pulse
    with part.doing("compute", "nobody asked"):
        pass
    world.events = []
    with part.doing("compute", "forward 0"):
        part.pulse.sent_bytes += 7
    ((kind, name, began, ended),) = world.events
    assert (kind, name) == ("compute", "forward 0") and began <= ended and world.sent_bytes == 7


def test_a_step_is_noted_once_and_changes_nothing(data, tiny):
    told = []
    runs = [Run.start(tiny(), data, Plan.fixed(4)) for _ in range(2)]
    records = [[*train_steps(runs[0])], [*steps_noted(runs[1], 3, told.append)]]
    assert [each.loss for each in records[0]] == [each.loss for each in records[1]]
    ((noted,),) = told
    assert noted.events == [("compute", "compute", 0.0, noted.step_s)]
    assert noted.step_s >= records[1][2].elapsed_s and runs[1].way.world.events is None


def test_the_page_of_a_step_stands_in_the_folder_of_the_run(data, tiny, tmp_path):
    run = Run.start(tiny(), data, Plan.fixed(4))
    run.step = 3
    events = [("compute", "compute", 0.0, 0.5), ("communicate", "sum", 0.5, 1.0)]
    said = write_timeline(run, tmp_path, [Noted("a", events, 1.0, 5000, 10 ** 8)] * 2)
    page = (tmp_path / "timeline_3.html").read_text(encoding="utf-8")
    assert said.endswith("timeline_3.html") and "rank 1 on a" in page
    assert "5 kB" in page and "100 MB" in page and "efficiency 50.0%" in page


def test_the_bubble_of_a_step_stands_beside_that_of_the_passes_of_each_stage():
    """One stage takes half as long again: in 2 + 8 x 6 + 2 seconds two stages work for 80."""
    way = SimpleNamespace(n_stages=2, schedule="1f1b", parts=[None] * 8)
    events = [[("compute", "compute", 0.0, 99.0)], [("wait", "from 0", 0.0, 1.0)]]
    for each, *times in laid_out(SCHEDULES["1f1b"], 2, 8, lambda x: 2 + x.stage):
        events[each.stage].append(("compute", f"{each.kind} {each.micro_batch}", *times))
    ranks = [Noted("a", some, 99.0, 0, 0) for some in 2 * events]      # and another copy
    (told,) = bubble_told(way, ranks)
    assert told[1] == "23.1%" and told[2].startswith("23.1% by the mean passes")
    assert "11.1% were they as long on all" in told[2]


def test_a_stage_keeps_what_is_its_own():
    owner = {Tensor(np.zeros(n)): stage for n, stage in ((3, 0), (4, 0), (5, 1))}
    way = SimpleNamespace(n_stages=2, owner=owner)
    assert kept_formula(SimpleNamespace(way=way)) == 16 * 7
