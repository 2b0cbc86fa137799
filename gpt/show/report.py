"""`report.html`: what happened in a run and what the model sees, in one file without network."""
import base64
import json
from importlib.resources import files
from pathlib import Path

import numpy as np

from bpe.files import write_whole
from gpt.batch import Batch
from gpt.training.folder import open_model, read_manifest, read_metrics
from gpt.training.measures import token_surprise
from minigrad import softmax, watch
from minigrad.ops.attention import heads

PAGE = files("gpt.show") / "page"   # the style, the structure and the drawing of the report
POINTS = 600                       # of a curve
PASSAGE_TOKENS = 64
MAP_LIMIT = 96                     # layers times heads that are drawn
TOKENS_SHOWN = 150


def write_report(folder):
    """Read a run's folder and write `report.html` into it."""
    folder = Path(folder)
    model, data, _, _ = open_model(folder)
    rows = read_metrics(folder)
    ids = np.asarray(data.val[:min(PASSAGE_TOKENS, model.config.context_length) + 1], np.int64)
    manifest = read_manifest(folder)
    manifest.pop("reported_step", None)               # that of the report before
    facts = {"name": folder.name, "manifest": manifest, "curves": curves(rows),
             "samples": [{"step": row["step"], "text": row["sample"]}
                         for row in rows if "sample" in row],
             "passage": passage(model, data, ids), "attention": attention_maps(model, ids[:-1]),
             "tokens": token_map(model, data),
             "profile": {name: read_if_there(folder / name)
                         for name in ("profile.txt", "roofline.svg")},
             "pages": sorted(path.name for path in folder.glob("step_*.html"))}
    page = (PAGE / "report.html").read_text(encoding="utf-8")
    for mark, text in (("@STYLE@", (PAGE / "report.css").read_text(encoding="utf-8")),
                       ("@SCRIPT@", (PAGE / "report.js").read_text(encoding="utf-8")),
                       ("@DATA@", as_script(facts))):
        page = page.replace(mark, text)
    write_whole(folder / "report.html", lambda path: path.write_text(page, encoding="utf-8"))


def read_if_there(path):
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def as_script(facts):
    """Write JSON that no text in it can break out of: `<` never stands there."""
    text = json.dumps(facts, default=str).replace("<", "\\u003c")
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def curves(rows):
    """Collect what is drawn over the steps, thinned out."""
    steps = thinned([row for row in rows if "loss" in row])
    evaluations = thinned([row for row in rows if "val_loss" in row])
    found = {name: [[row["step"], row[name]] for row in steps]
             for name in ("loss", "rate", "grad_norm", "tokens_s")}
    for name in ("val_loss", "val_bits"):
        found[name] = [[row["step"], row[name]] for row in evaluations]
    return found


def thinned(rows):
    return rows[::-(-len(rows) // POINTS)] if rows else []


def passage(model, data, ids):
    """Return the tokens of a validation passage with the surprise at each, in bits."""
    bits = token_surprise(model, ids) / np.log(2)
    texts = [show(data.tokenizer, i) for i in ids]
    return [{"text": text, "bits": None if i == 0 else round(float(bits[i - 1]), 2)}
            for i, text in enumerate(texts)]


def show(tokenizer, i):
    return tokenizer.decode([int(i)])


def attention_maps(model, ids):
    """Record how much each token of a passage attends to each, per layer and head.

    Returns
    -------
    list of {"layer", "head", "size", "map"}, the map as base64 of (T, T) uint8
    """
    found = []

    def look(node):
        if node.op.name == "self_attention":
            found.append(heads(node.inputs[0].data, model.config.n_head, model.config.kv_heads))
    with watch(look):
        model.stream(Batch(ids[None]))
    maps, hidden = [], np.triu(np.ones((len(ids), len(ids)), bool), 1)
    for layer, (q, k, _) in enumerate(found):                       # (1, H, T, D), (1, G, T, D)
        k = np.repeat(k, q.shape[1] // k.shape[1], axis=1)
        scores = q[0] @ k[0].swapaxes(1, 2) * q.shape[-1] ** -0.5   # (H, T, T)
        p = softmax(np.where(hidden & model.config.causal, -np.inf, scores))
        for head, weights in enumerate(p):
            levels = np.round(255 * np.sqrt(weights)).astype(np.uint8)
            maps.append({"layer": layer + 1, "head": head + 1, "size": len(ids),
                         "map": base64.b64encode(levels.tobytes()).decode()})
    return maps[:MAP_LIMIT]


def token_map(model, data):
    """Place the most frequent tokens in a plane: the two main axes of their embeddings."""
    counts = np.bincount(data.train[:2_000_000], minlength=data.tokenizer.vocab_size)
    chosen = np.argsort(-counts, kind="stable")[:TOKENS_SHOWN]
    chosen = chosen[counts[chosen] > 0]
    x = model.token_embedding.weight.data[chosen].astype(np.float64)
    x -= x.mean(axis=0)
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    places = (u * s)[:, :2]                                                     # (N, 2)
    places /= np.abs(places).max(axis=0) + 1e-12
    return [{"text": show(data.tokenizer, i), "x": round(float(a), 3), "y": round(float(b), 3),
             "count": int(counts[i])} for i, (a, b) in zip(chosen, places)]
