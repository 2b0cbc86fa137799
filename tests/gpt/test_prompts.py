"""Prompts from a file: each gets the text it would get alone, in the order of the file."""
import json

import numpy as np
import pytest

from gpt.data.tokens.characters import CharTokenizer
from gpt.generate import main
from gpt.models.config import ModelConfig
from gpt.models.decoder import GPT
from gpt.models.sampling import Sampling, write
from gpt.opening import Opened
from gpt.prompts import AT_ONCE, continue_all, read_prompts, together

LETTERS = "abcdefgh \n"
GREEDY = Sampling(temperature=0)


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    model = GPT(ModelConfig(vocab_size=11, context_length=12, n_layer=1, n_head=2, d_model=16), rng)
    for x in model.parameters():
        x.data += (0.3 * rng.standard_normal(x.shape)).astype(np.float32)
    return model


@pytest.mark.parametrize("stop", [[], ["a"], ["b", "g"]])
def test_texts_are_those_of_each_prompt_alone(model, stop):
    tokenizer = CharTokenizer(LETTERS, ["<|endoftext|>"])
    prompts = ["abc", "h", "cab", "", "abc def gh", "d"]
    alone = ["".join(write(model, tokenizer, prompt, GREEDY, 0, 40, stop)) for prompt in prompts]
    assert continue_all(model, tokenizer, prompts, GREEDY, 0, 40, stop) == alone
    assert continue_all(model, tokenizer, prompts, GREEDY, 0, 0, stop) == [""] * 6


def test_a_batch_holds_prompts_of_one_length_and_not_too_many():
    ids = [[0] * (1 + i % 3) for i in range(5 * AT_ONCE)]
    batches = [*together(ids)]
    assert sorted(i for places in batches for i in places) == [*range(len(ids))]
    assert all(len(places) <= AT_ONCE for places in batches)
    assert all(len({len(ids[i]) for i in places}) == 1 for places in batches)


def test_lines_and_rows_of_json_are_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain.txt").write_bytes('\ufeff"a" --b\r\n\n c\u2028d'.encode())
    assert [row["prompt"] for row in read_prompts("plain.txt")] == ['"a" --b', " c\u2028d"]
    (tmp_path / "rows.jsonl").write_text('"a"\n{"prompt": "", "id": 7}\n', encoding="utf-8")
    assert read_prompts("rows.jsonl") == [{"prompt": "a"}, {"prompt": "", "id": 7}]


def test_the_command_writes_a_line_of_json_for_each(model, tmp_path, monkeypatch, capsys):
    opened = Opened(model, CharTokenizer(LETTERS + "i"))
    monkeypatch.setattr("gpt.generate.open_model", lambda *_: opened)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.jsonl").write_text('{"prompt": "abc", "id": "x"}\n"de"\n', encoding="utf-8")
    main(["--prompts", "in.jsonl", "run", "--out", "out.jsonl", "--n", "2", "--max-tokens", "5"])
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(row["prompt"], row.get("id"), row["seed"]) for row in rows] == [
        ("abc", "x", 0), ("de", None, 0), ("abc", "x", 1), ("de", None, 1)]
    assert all(len(row["text"]) == 5 for row in rows)
    assert capsys.readouterr().out == "out.jsonl: 4 texts\n"
