"""Models by name, from a server in this process."""
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from test_portable import exported

from gpt.files.hub import fetch, is_name, look_up
from gpt.files.opening import open_weights
from gpt.files.safetensors import write_safetensors
from gpt.files.weights import FileError

SHA = "0123456789abcdef0123456789abcdef01234567"


def serve(files, tags, asked):
    """Make a handler that answers as the hub does for the model org/tiny."""
    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append((self.command, self.path))
            if self.path.startswith("/api/models/org/tiny"):
                siblings = [{"rfilename": name, "size": len(data)} for name, data in files.items()]
                answer = {"id": "org/tiny", "sha": SHA, "tags": tags, "siblings": siblings}
                return self.answer(json.dumps(answer).encode())
            data = files.get(self.path.removeprefix(f"/org/tiny/resolve/{SHA}/"))
            return self.send_error(404) if data is None else self.answer(data)

        do_GET = do_HEAD

        def answer(self, data):
            self.send_response(200)
            for name, value in (("Content-Length", len(data)), ("X-Repo-Commit", SHA),
                                ("ETag", f'"{abs(hash(data))}"')):
                self.send_header(name, str(value))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        def log_message(self, *_):
            pass
    return Hub


@pytest.fixture
def hub(tmp_path):
    """Start a server; return where it is, its files, and what it was asked for."""
    write_safetensors(tmp_path / "w", {"a": np.float32([1, 2])}, {"format": "pt"})
    files = {"model.safetensors": (tmp_path / "w").read_bytes(), "config.json": b"{}",
             "onnx/model.json": b"{}", "README.md": b"a card", "training_args.bin": b"\x80\2",
             "consolidated.safetensors": b"the same once more"}
    asked = []
    handler = serve(files, ["text-generation", "license:apache-2.0"], asked)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", files, asked
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.extra("huggingface_hub")
def test_a_name_says_what_would_come_and_then_only_that_is_fetched(hub, tmp_path):
    endpoint, _, asked = hub
    offer = look_up("org/tiny", endpoint)
    assert str(offer) == "org/tiny, 0.0 MB, licence apache-2.0: model.safetensors, config.json"
    assert not [path for _, path in asked if "resolve" in path]
    folder = fetch(offer, endpoint, tmp_path / "cache")
    assert open_weights(folder)["a"].tolist() == [1, 2]
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "config.json"}
    n = len([path for command, path in asked if command == "GET" and "resolve" in path])
    assert fetch(offer, endpoint, tmp_path / "cache") == folder and n == 2
    assert len([path for command, path in asked if command == "GET" and "resolve" in path]) == n


@pytest.mark.extra("huggingface_hub")
def test_what_cannot_be_fetched_is_told_in_a_sentence(hub):
    endpoint, files, _ = hub
    with pytest.raises(FileError, match="^org/other is not a place here, and cannot be had "):
        look_up("org/other", endpoint)
    with pytest.raises(FileError, match="^org/tiny has no file 'q.gguf'$"):
        look_up("org/tiny/q.gguf", endpoint)
    del files["model.safetensors"], files["consolidated.safetensors"]
    files["a.gguf"] = b"GGUF"
    assert [*look_up("org/tiny/a.gguf", endpoint).sizes] == ["a.gguf"]
    with pytest.raises(FileError, match="has 1 GGUF files: name one, as org/tiny/a.gguf$"):
        look_up("org/tiny", endpoint)
    del files["a.gguf"]
    files["pytorch_model.bin"] = b"PK"
    with pytest.raises(FileError, match="^org/tiny has pytorch_model.bin, which is a pickle"):
        look_up("org/tiny", endpoint)
    with pytest.raises(FileError, match="^org/tiny is not a place here, and cannot be had "):
        look_up("org/tiny", "http://127.0.0.1:1")


def test_without_the_package_the_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(FileError, match=r"pip install minigrad\[hub\]$"):
        look_up("org/tiny")


def test_a_name_is_what_is_not_a_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_name("org/model-1.5") and is_name("org/model/sub/file.gguf")
    (tmp_path / "org").mkdir()
    (tmp_path / "org" / "model-1.5").touch()
    assert not is_name("org/model-1.5")
    assert not any(map(is_name, ("model", "/org/model", "org/", "a b/c", "./a/b", "../a/b",
                                    "https://a/b")))


@pytest.mark.extra("huggingface_hub")
def test_a_command_takes_a_name_and_says_what_comes(hub, tmp_path):
    endpoint, files, _ = hub
    exported(tmp_path / "model", "portable")
    files.clear()
    files.update({path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()})
    ours = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home"),
                         "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "gpt", "generate", "org/tiny", "hello", "--max_tokens", "3"]
    done = subprocess.run(command, env=ours, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "from the hub: org/tiny, 0.2 MB, licence apache-2.0: model.safetensors" in done.stderr
    command[4] = "org/other"
    done = subprocess.run(command, env=ours, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and "org/other is not a place here, and cannot" in done.stderr
