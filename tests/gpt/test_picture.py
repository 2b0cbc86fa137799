"""A net is drawn from itself: its parts add up to what the trainer says, and nothing in it runs."""
import json
import re

import numpy as np
import pytest

from gpt.data.corpora import stories
from gpt.data.documents import prepare
from gpt.opening import open_model
from gpt.picture import Drawn, main, summary, traced
from gpt.training.config import Config
from gpt.training.folder import save
from gpt.training.forecast import flops_per_token, sequence_bytes
from gpt.training.plan import Plan
from gpt.training.run import Run
from minigrad.stepper.cost import of_modules
from minigrad.stepper.parts import rows, tree

NETS = (dict(preset="gpt2", n_head=2), dict(n_head=2, n_kv_head=1, mlp="swiglu"),
        dict(net="lstm"), dict(net="conv"), dict(net="encoder", n_head=2))


def drawn(run):
    return Drawn("here", run.model, run.config.train.task, run.data.tokenizer, run.data)


@pytest.mark.parametrize("changes", NETS, ids=str)
def test_the_parts_add_up_to_what_the_trainer_says(data, changes):
    sizes = dict(n_layer=2, d_model=16, context_length=16)
    config = Config.make(**changes, **sizes, vocab_size=data.tokenizer.vocab_size + 1)
    run = Run.start(config, data, Plan.fixed(9))
    t, batch = traced(drawn(run))
    cost, T = of_modules(t)[""], config.model.context_length
    assert cost.parameters == sum(x.size for x in run.model.parameters())
    assert (cost.forward + cost.backward) // T == flops_per_token(run)
    assert cost.kept == sequence_bytes(run)
    assert batch.ids.shape == (1, T)
    inner = [found for depth, _, _, found in rows(t) if depth == 1]
    assert [sum(column) for column in zip(*inner)] == list(cost)


def test_blocks_that_are_alike_are_told_once(data, tiny):
    run = Run.start(tiny(n_layer=5), data, Plan.fixed(9))
    t, _ = traced(drawn(run))
    names = [name for _, name, _, _ in rows(t)]
    assert {"blocks × 5", "blocks[0]", "4 more like it"} < {*names} and "blocks[1]" not in names
    of = of_modules(t)
    blocks = [cost for path, cost in of.items() if re.search(r"/ blocks\[\d\]$", path)]
    (many,) = (cost for path, cost in of.items() if path.endswith("blocks × 5"))
    assert [sum(column) for column in zip(*blocks)] == list(many)
    assert all(len(line) <= 105 for line in tree(t).splitlines())


def test_a_run_with_a_prompt_is_drawn_as_a_page(tiny, tmp_path, capsys):
    data = prepare(stories(100), Config.make(tokenizer="char").data, tmp_path / "run" / "data")
    save(Run.start(tiny("gpt2"), data, Plan.fixed(9)), tmp_path / "run")
    page = tmp_path / "net.html"
    opened = open_model(tmp_path / "run")
    net = Drawn("run", opened.model, opened.task, opened.tokenizer)
    t, batch = traced(net, "Once upon")
    np.testing.assert_array_equal(batch.ids[0], opened.tokenizer.encode_array("Once upon"))
    assert "1 x 9 tokens" in summary(net, t, batch)
    main([str(tmp_path / "run"), "--prompt", "Once upon", "--html", str(page)])
    title, about, *_ = capsys.readouterr().out.splitlines()
    shown = json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"))[1])
    assert shown["title"] == f"{title}\n{about}"
    assert "".join(shown["tokens"]) == "Once upon"
    costs = shown["records"][0]["costs"]
    assert costs == {path: list(cost) for path, cost in of_modules(t).items()}


def test_a_prompt_that_would_be_a_script_is_text(tmp_path, capsys):
    prompt = "<!--<script>alert(1)</script>"
    main(["--preset", "gpt2", "--n_layer", "1", "--d_model", "4", "--n_head", "1",
          "--prompt", prompt, "--html", str(tmp_path / "net.html")])
    text = (tmp_path / "net.html").read_text(encoding="utf-8")
    assert prompt in capsys.readouterr().out and "alert(1)" in text
    assert "<!--" not in text and text.count("<script") == 2


def test_a_net_that_is_not_there_yet_is_drawn_by_its_settings(capsys):
    main("--preset gpt2 --n_layer 3 --d_model 8 --n_head 2 --context_length 8".split())
    said = capsys.readouterr().out
    assert said.startswith("decoder: 4,744 parameters, 37,666 FLOP a token")
    assert "blocks × 3" in said
