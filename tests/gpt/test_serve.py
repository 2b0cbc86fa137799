"""The server speaks OpenAI's protocol to its own client, whoever else asks, leaves or errs."""
import base64
import contextlib
import http.client
import json
import queue
import random
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import bpe
from gpt import serve
from gpt.data.templates import TEMPLATES
from gpt.models.config import ModelConfig
from gpt.models.encoder import Encoder
from gpt.models.nets import net_named
from gpt.models.sampling import Sampling, write
from gpt.opening import Opened
from gpt.serving.service import Service

PAGE = Path(__file__).parent.parent.parent / "docs" / "serving.md"
pytestmark = pytest.mark.extra("starlette", "uvicorn", "openai")
SPECIAL = {"<|im_start|>": 256, "<|im_end|>": 257}
TOKENIZER = bpe.Tokenizer([], special_tokens=SPECIAL)
CLIENTS, TOKENS = 64, 12


def model_of():
    rng, net = np.random.default_rng(0), net_named("decoder")
    config = net.config(vocab_size=258, context_length=128, n_layer=2, d_model=36)
    model = net.module(config, rng)
    for x in model.parameters():
        x.data += (0.3 * rng.standard_normal(x.shape)).astype(np.float32)
    return model


OPENED = Opened(model_of(), TOKENIZER)


@contextlib.contextmanager
def served(opened=OPENED, **how):
    """Serve a model on a free port: yields (service, port)."""
    import uvicorn

    from gpt.serving.app import make_app
    service = Service("tiny", opened, TEMPLATES["chatml"], **how)
    place = serve.listening("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(make_app(service), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [place]})
    thread.start()
    try:
        yield service, place.getsockname()[1]
    finally:
        service.stop()
        server.should_exit = True
        thread.join()
        assert service.batcher is None or not service.batcher.thread.is_alive()


@pytest.fixture(scope="module")
def server():
    with served(n_waiting=256) as found:
        yield found


@pytest.fixture(scope="module")
def client(server):
    with client_of(server) as found:
        yield found


def client_of(server, key="none"):
    import openai
    _, port = server
    return openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=key, max_retries=0)


def alone(prompt, seed, n=TOKENS, **how):
    return "".join(write(OPENED.model, TOKENIZER, prompt, Sampling(temperature=1), seed, n, **how))


def talk(client, text="Hi", **how):
    messages = [{"role": "user", "content": text}]
    return client.chat.completions.create(
        **{"model": "tiny", "messages": messages, "max_tokens": TOKENS, **how})


# ---- what is answered ----

def test_a_completion_is_what_the_model_writes(client):
    found = client.completions.create(model="tiny", prompt=["ab", [99]], n=2, seed=5, max_tokens=6)
    expected = [alone(prompt, seed, 6) for prompt in ("ab", "c") for seed in (5, 6)]
    assert [choice.text for choice in found.choices] == expected
    assert [choice.index for choice in found.choices] == [0, 1, 2, 3]
    assert found.usage.prompt_tokens == 3 and found.usage.completion_tokens <= 24


def test_a_conversation_is_written_by_its_template_whole_and_in_a_stream(client, server):
    whole = talk(client, seed=3)
    prompt = [256, *b"user\nHi", 257, *b"\n", 256, *b"assistant\n"]
    (choice,) = client.completions.create(model="tiny", prompt=prompt, seed=3,
                                          max_tokens=TOKENS).choices
    text = whole.choices[0].message.content
    assert text == choice.text.lstrip() and whole.choices[0].finish_reason == choice.finish_reason
    parts = [*talk(client, seed=3, stream=True, stream_options={"include_usage": True})]
    assert "".join(part.choices[0].delta.content or "" for part in parts[:-1]) == text
    assert parts[0].choices[0].delta.role == "assistant" and parts[-1].usage == whole.usage
    assert [part.choices[0].finish_reason for part in parts[1:-1]] == (
        [None] * (len(parts) - 3) + [choice.finish_reason])
    assert talk(client, [{"type": "text", "text": "Hi"}], seed=3).choices == whole.choices
    names = ["max_completion_tokens", "user", "metadata", "logit_bias"]
    how = dict(zip(names, [TOKENS, "me", {"a": "b"}, {}]))
    assert talk(client, seed=3, max_tokens=None, **how).choices == whole.choices


def test_the_models_are_listed(client):
    import openai
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "minigrad"
    with pytest.raises(openai.NotFoundError, match="there is no model"):
        client.models.retrieve("huge/one")


# field, value, what is said
WRONG = [("temperature", -1, "temperature is -1"), ("top_p", 0, "top_p is 0"),
         ("max_tokens", 0, "max_tokens is 0"), ("n", 999, "n is 999"), ("seed", "x", "seed is"),
         ("stop", [""], "stop is"), ("stream", 1, "stream is 1"), ("model", "x", "no model"),
         ("tools", [{}], "tools is not supported"), ("logprobs", True, "logprobs is not"),
         ("temprature", 1, "no field 'temprature'"), ("messages", [], "messages is"),
         ("messages", [{"role": "assistant", "content": "x"}], "in turns"),
         ("messages", [{"role": "tool", "content": "x"}], "in turns"),
         ("messages", [{"role": "user", "content": [{"type": "image_url"}]}], "parts that are"),
         ("messages", [{"role": "user", "content": "x" * 200}], "the context has room for 128"),
         ("stream_options", {"include_usage": 3}, "include_usage is 3")]


@pytest.mark.parametrize("field, value, sentence", WRONG)
def test_a_wrong_field_is_refused_by_name(client, field, value, sentence):
    import openai
    with pytest.raises((openai.BadRequestError, openai.NotFoundError), match=sentence) as error:
        talk(client, extra_body={field: value})
    assert error.value.body["type"] in ("invalid_request_error", "not_found_error")


# body, headers, status
BODIES = [(b"{", {}, 400), (b"[]", {}, 400), (b"[" * 9999, {}, 400), (b"\xff", {}, 400),
          (b'{"prompt": "x", "temperature": NaN}', {}, 400), (b"{}", {}, 400),
          (b'{"prompt": [300]}', {}, 400), (b'{"prompt": [[]]}', {}, 400),
          (b'{"prompt": "x"}', {"content-type": "text/plain"}, 415),
          (b'{"prompt": "x"}', {"host": "evil.example"}, 403),
          (b"x" * (9 << 20), {}, 413)]


@pytest.mark.parametrize("body, headers, status", BODIES)
def test_what_is_no_request_gets_the_errors_of_the_protocol(server, body, headers, status):
    answer, text = post(server, "/v1/completions", body, headers)
    assert answer.status == status and "message" in json.loads(text)["error"]


def post(server, path, body, headers=(), method="POST"):
    connection = http.client.HTTPConnection("127.0.0.1", server[1], timeout=30)
    connection.request(method, path, body, {"content-type": "application/json", **dict(headers)})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer, text


def test_other_paths_and_methods_are_told_in_the_same_form(server):
    for path, method, status in (("/v1/x", "POST", 404), ("/v1/models", "POST", 405),
                                 ("/v1/completions", "OPTIONS", 405)):
        answer, text = post(server, path, None, method=method)
        assert answer.status == status and json.loads(text)["error"]["message"]
        assert not any("access-control" in name.lower() for name in answer.headers)


def test_the_page_loads_nothing_from_elsewhere(server):
    answer, page = post(server, "/", None, method="GET")
    assert answer.status == 200 and b"default-src 'none'" in page
    assert b"innerHTML" not in page and b"http" not in page.replace(b"http-equiv", b"")


def test_whoever_has_no_key_is_refused():
    import openai
    with served(key="secret") as server:
        for wrong in ("secre", "geheim\u00fc".encode("latin-1").decode("latin-1")[:6]):
            with client_of(server, wrong) as client, pytest.raises(openai.AuthenticationError):
                client.models.list()
        with client_of(server, "secret") as client:
            assert talk(client).choices
            assert post(server, "/", None, method="GET")[0].status == 200


def test_more_than_may_wait_are_told_to_come_later():
    import openai
    with served(n_rows=1, n_waiting=2) as server, client_of(server) as client:
        with pytest.raises(openai.RateLimitError, match="too many wait"):
            talk(client, n=3)
        assert len(talk(client, n=2).choices) == 2


def test_an_encoder_makes_vectors_and_does_not_write():
    import openai
    config = ModelConfig(vocab_size=258, context_length=32, n_layer=1, n_head=2, d_model=16,
                         causal=False)
    encoder = Encoder(config, np.random.default_rng(0))
    with served(Opened(encoder, TOKENIZER, "masked")) as server, client_of(server) as client:
        found = client.embeddings.create(model="tiny", input=["a b", "c"])
        (first, second), n = found.data, found.usage.total_tokens
        assert np.linalg.norm(first.embedding) == pytest.approx(1) and n == 4
        body = json.dumps({"input": "c", "encoding_format": "base64"})
        _, text = post(server, "/v1/embeddings", body)
        raw = base64.b64decode(json.loads(text)["data"][0]["embedding"])
        np.testing.assert_array_equal(np.frombuffer(raw, "<f4"),
                                      np.float32(second.embedding))
        with pytest.raises(openai.NotFoundError, match="does not write"):
            talk(client)
        with pytest.raises(openai.BadRequestError, match="input is"):
            client.embeddings.create(model="tiny", input=[[1, 2]])


def test_the_example_of_the_page_runs(server, capsys):
    text = PAGE.read_text(encoding="utf-8")
    code = re.search("```py\n(.*?)```", text, re.DOTALL)[1]
    exec(code.replace("8000", str(server[1])).replace("my_model", "tiny"), {})
    assert "ChatCompletionMessage" in capsys.readouterr().out


# ---- under load ----

def test_64_clients_at_once_get_what_each_would_get_alone(server, client):
    service, _ = server
    prompts = [f"client {i}" * (1 + i % 5) for i in range(CLIENTS)]
    expected = [alone(prompt, i) for i, prompt in enumerate(prompts)]
    wrong = queue.SimpleQueue()

    def ask(i):
        chance = random.Random(i)
        for _ in range(4):
            kind = chance.random()
            if kind < 0.1:
                leave(server, prompts[i])
            elif kind < 0.15:
                nonsense(client, wrong)
            elif complete(client, prompts[i], i) != expected[i]:
                wrong.put(i)
    with ThreadPoolExecutor(CLIENTS) as pool:
        [*pool.map(ask, range(CLIENTS))]
    assert wrong.empty()
    wait_for(lambda: not service.batcher.waiting)
    assert complete(client, prompts[0], 0) == expected[0]


def complete(client, prompt, seed):
    parts = client.completions.create(model="tiny", prompt=prompt, seed=seed, stream=True,
                                      max_tokens=TOKENS)
    return "".join(part.choices[0].text for part in parts)


def leave(server, prompt):
    """Ask for a long answer, and leave before its end."""
    body = json.dumps({"prompt": prompt, "stream": True, "max_tokens": 60})
    with socket.create_connection(("127.0.0.1", server[1])) as line:
        line.sendall(f"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: "
                     f"application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode())
        line.recv(10)


def nonsense(client, wrong):
    import openai
    try:
        client.completions.create(model="tiny", prompt="x", seed="nonsense")
        wrong.put("nonsense was answered")
    except openai.BadRequestError:
        pass


def wait_for(condition):
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < 30
        time.sleep(0.02)


def test_who_leaves_is_written_to_no_more(server):
    service, _ = server
    wait_for(lambda: not service.batcher.waiting)
    before = service.batcher.n_tokens
    for stream in (True, False):
        body = json.dumps({"prompt": "x" * 60, "stream": stream, "n": 30, "max_tokens": 60})
        with socket.create_connection(("127.0.0.1", server[1])) as line:
            line.sendall(f"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: "
                         f"application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode())
            wait_for(lambda: service.batcher.waiting)
        wait_for(lambda: not service.batcher.waiting)
    assert service.batcher.n_tokens - before < 2 * 30 * 60 / 2
