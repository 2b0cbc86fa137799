"""A conversation: the cache changes nothing, what is too long is told, every line is answered."""
import io
import signal
import sys

import numpy as np
import pytest

import bpe
from gpt import chat
from gpt.conversation import Conversation
from gpt.data.templates import TEMPLATES, Message
from gpt.models.nets import net_named
from gpt.models.sampling import Reader, Sampling
from gpt.opening import Opened
from gpt.settings import ConfigError
from gpt.training.checkpoint import CheckpointError
from minigrad import no_grad

GREEDY = Sampling(temperature=0)
TOKENIZER = bpe.Tokenizer([], special_tokens={"<|im_start|>": 256, "<|im_end|>": 257})
PROGRAM = "{{ '<|im_start|>assistant\n' }}{{ '<|im_end|>' }}"


def model_of(context_length, name="decoder", seed=0):
    rng, net = np.random.default_rng(seed), net_named(name)
    model = net.module(net.config(vocab_size=258, context_length=context_length, n_layer=2,
                                  d_model=48), rng)
    for x in model.parameters():
        x.data += (0.3 * rng.standard_normal(x.shape)).astype(np.float32)
    return model


OPENED = Opened(model_of(400), TOKENIZER, template=PROGRAM)


def conversation(opened=OPENED, max_tokens=6, **how):
    return Conversation(opened, TEMPLATES["chatml"], GREEDY, np.random.default_rng(0), max_tokens,
                        **how)


@pytest.mark.parametrize("name", ["decoder", "lstm"])
def test_scores_are_those_of_the_full_forward_pass_whatever_was_read_before(name):
    model = model_of(40, name)
    reader, rng = Reader(model), np.random.default_rng(1)
    ids = rng.integers(0, 258, 30).tolist()
    texts = [ids[:n] for n in (9, 10, 20, 4, 1, 30, 30)]
    for text in [*texts, [*ids[:12], 5, 6], [7, 8]]:
        with no_grad():
            expected = model(np.array([text])).data[0, -1]
        np.testing.assert_allclose(reader(text), expected, atol=2e-5)


def test_only_what_is_new_is_read(monkeypatch):
    talk, counts = conversation(), []
    read = talk.reader.next_scores.compute
    monkeypatch.setattr(talk.reader.next_scores, "compute",
                        lambda ids, *state: (counts.append(ids.shape[1]), read(ids, *state))[1])
    "".join(talk.say("a" * 40))
    "".join(talk.say("bc"))
    first, second = counts                            # one token more is a replay, not seen here
    assert first == len("<user\n" + "a" * 40 + ">\n<assistant\n")
    assert second <= len("x>\n<user\nbc>\n<assistant\n")


def test_an_answer_is_that_of_a_conversation_which_was_read_anew():
    talk = conversation(system="Be kind")
    for text in ("Hello", "What?", "", "Bye"):
        answer = "".join(talk.say(text))
        other = conversation(system="Be kind")
        other.said = talk.said[:-2]
        assert "".join(other.say(text)) == answer
    assert [role for role, _ in talk.said] == ["user", "assistant"] * 4


def test_a_long_conversation_forgets_its_oldest_turns():
    talk, forgets = conversation(Opened(model_of(160), TOKENIZER)), []
    for i in range(12):
        "".join(talk.say(f"{i} and more"))
        forgets.append(talk.forgets)
        assert len(talk.reader.read) <= 160
    assert any(forgets) and not all(forgets[3:]) and talk.forgotten % 2 == 0
    assert len(talk.said) == 24                       # and what is forgotten is saved all the same


def test_what_is_too_long_for_the_context_is_not_said():
    talk = conversation(Opened(model_of(160), TOKENIZER))
    "".join(talk.say("Hello"))
    with pytest.raises(ConfigError, match="takes 2[0-9]{2} tokens, but .* room for 154"):
        talk.say("a" * 200)
    assert len(talk.said) == 2 and "".join(talk.retry()) is not None


def test_another_answer_takes_the_place_of_the_last():
    talk = conversation(max_tokens=20)
    talk.sampling = Sampling(temperature=1)
    first = "".join(talk.say("Hello"))
    assert "".join(talk.retry()) != first and len(talk.said) == 2
    talk.reset()
    with pytest.raises(ConfigError, match="nothing was said"):
        talk.retry()


def test_a_saved_conversation_goes_on(tmp_path):
    talk, path = conversation(system="Be kind"), tmp_path / "talk.json"
    talk.said = [Message("user", "Grüße"), Message("assistant", [72, 105])]
    talk.save(path)
    talk.save(path)
    other = conversation()
    other.load(path)
    assert other.said == [Message("user", "Grüße"), Message("assistant", "Hi")]
    assert other.system == "Be kind"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"messages": [1]}', '{"messages": 3}',
                                  '{"messages": [{"role": "user", "content": 1}]}',
                                  '{"messages": [{"role": "assistant", "content": "x"}]}'])
def test_what_is_no_conversation_is_neither_read_nor_written_over(tmp_path, text):
    path = tmp_path / "notes.txt"
    path.write_text(text)
    for do in (conversation().load, conversation().save):
        with pytest.raises(ConfigError, match="notes.txt holds no conversation"):
            do(path)
    assert path.read_text() == text


# ---- the command ----

@pytest.fixture()
def talk(monkeypatch, capsys):
    def run(text, *args, opened=OPENED):
        known = opened if callable(opened) else lambda place, base=None: opened
        monkeypatch.setattr(chat, "open_model", known)
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        status = 0
        before = signal.getsignal(signal.SIGINT)
        try:
            chat.main(["MODEL", "--max_tokens", "5", *args])
        except SystemExit as end:
            status = end.code
        finally:
            signal.signal(signal.SIGINT, before)
        return status, *capsys.readouterr()
    return run


def test_lines_go_in_and_answers_come_out(talk):
    status, out, told = talk("Hello\n\nAgain\n", "--temperature", "0")
    assert status == 0 and "template chatml" in told
    expected = conversation(max_tokens=5)
    assert out == "".join("".join(expected.say(text)) + "\n" for text in ("Hello", "Again"))


def test_commands_are_told_and_mistakes_end_nothing(talk, tmp_path):
    path = tmp_path / "talk.json"
    status, out, told = talk(f"/system Be kind\nHello\n//x\n/save {path}\n/reset\n/load {path}\n"
                             "/retry\n/nothing\n/save\n/load nowhere\n/help\n/quit\nunread\n")
    assert status == 0 and path.exists()
    for sentence in ("the system says: Be kind", f"saved in {path}", "everything is forgotten",
                     "4 messages", "there is no command /nothing: /help", "name a file, as in",
                     "nowhere cannot be read", "/load FILE     go on"):
        assert sentence in told, sentence
    assert '"content": "/x"' in path.read_text()


def test_adapters_answer_in_the_place_of_the_model(talk, monkeypatch):
    adapted = OPENED._replace(model=model_of(300, seed=1), template=None)
    bases = {"MODEL": None, "low": OPENED, "broken": OPENED}
    def opened(place, base):
        assert base is bases[str(place)]
        if str(place) == "broken":
            raise CheckpointError("it is damaged")
        return adapted if base else OPENED
    lines = "Hello\n/adapter\n/retry\n/adapter low\n/retry\n/adapter broken\n/retry\n"
    status, out, told = talk(lines, "--adapter", "low", "--temperature", "0", opened=opened)
    one, two = ("".join(conversation(x, max_tokens=5).say("Hello")) for x in (adapted, OPENED))
    assert status == 0 and one != two and out == f"{one}\n{two}\n{one}\n{one}\n"
    for sentence in ("the adapters of low answer", "the model alone answers", "it is damaged"):
        assert sentence in told


def test_a_model_without_a_template_is_talked_to_in_plain_text(talk):
    told = talk("Hello\n", opened=OPENED._replace(template=None))[2]
    assert "template plain" in told and "may not have learnt to talk" in told


@pytest.mark.parametrize("opened, args, sentence", [
    (OPENED._replace(template="{{ 1 }}"), (), "not known here: choose --template"),
    (OPENED._replace(task="masked"), (), "learnt the task masked"),
    (OPENED, ("--template", "llama3"), "does not know"),
    (OPENED, ("--template", "chat"), "template is 'chat': choose chatml"),
    (OPENED, ("--max_tokens", "0"), "max_tokens is 0, but must be at least 1")])
def test_what_cannot_be_talked_to_is_refused_in_a_sentence(talk, opened, args, sentence):
    status, out, told = talk("Hello\n", *args, opened=opened)
    assert status == 2 and sentence in told and not out and told.count("\n") == 1


def interrupted(times):
    yield "a"
    for _ in range(times):
        signal.raise_signal(signal.SIGINT)
    yield "b"
    yield "c"


def test_the_first_interrupt_stops_an_answer_and_the_second_leaves(capsys):
    chat.stream(conversation_of("x"), interrupted(1))
    out, told = capsys.readouterr()
    assert out == "ab\n" and "Ctrl-C again leaves" in told
    with pytest.raises(KeyboardInterrupt):
        chat.stream(conversation_of("x"), interrupted(2))


def conversation_of(*answers):
    talk = conversation()
    talk.said = [Message("assistant", answer) for answer in answers]
    return talk


def test_a_model_moves_no_cursor(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    chat.stream(conversation_of("x"), iter(["a\x1b[2J", "\x07\tb\n"]))
    assert capsys.readouterr().out == "a\\x1b[2J\\x07\tb\n\n"
