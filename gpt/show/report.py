"""`report.html`: what happened in a run and what the model sees, in one file without network."""
import base64
import json
from importlib.resources import files
from pathlib import Path

import numpy as np

from bpe.files import write_text
from gpt.batch import Batch
from gpt.opening import open_model
from gpt.training.folder import read_manifest, read_metrics
from gpt.training.measures import token_surprise
from gpt.training.tasks import TASKS
from minigrad import softmax, watch
from minigrad.ops.attention import heads

PAGE = files("gpt.show") / "page"   # the style, the structure and the drawing of the report
STYLE = "report.css"
SCRIPTS = {"report": ("chart.js", "figures.js", "answers.js", "report.js"),
           "compare": ("chart.js", "figures.js", "answers.js", "compare.js")}
CURVES = "loss", "rate", "grad_norm", "tokens_s", "val_loss", "val_bits", "val_right"
POINTS = 600                       # of a curve
PASSAGE_TOKENS = 64
MAP_LIMIT = 96                     # layers times heads that are drawn
TOKENS_SHOWN = 150
COUNTED = 500_000                  # tokens, to find the most frequent ones
PROFILE = "profile.txt", "roofline.svg"


def write_report(folder, answers=(), opened=None):
    """Read a model's folder and write `report.html` into it.

    Parameters
    ----------
    folder : path
    answers : sequence of Answer
        What it was asked, and what came of it.
    opened : Opened, optional
        The model, where it is in memory.
    """
    folder = Path(folder)
    facts = collect(folder, opened or open_model(folder))
    write_page("report", folder / "report.html", facts | {"answers": by_section(answers)})


def write_page(name, path, facts):
    """Write a page of this folder with what it shows: one file, nothing from outside."""
    read = lambda file: (PAGE / file).read_text(encoding="utf-8")
    scripts = "\n".join(map(read, SCRIPTS[name]))
    page = read(f"{name}.html")
    page = page.replace("@STYLE@", read(STYLE))
    page = page.replace("@SCRIPT@", scripts)
    page = page.replace("@DATA@", as_script(facts))    # last: nothing in it is replaced
    write_text(path, page)


def by_section(answers):
    """Return the sections of a report, each with its lines and figures."""
    found = {}
    for section, question, line, _ in answers:
        figures = [figure._asdict() for figure in line.figures]
        told = {"question": question.name, "verdict": line.verdict, "said": line.said}
        lines = found.setdefault(section.title, [])
        lines.append(told | {"figures": figures})
    return [{"title": title, "lines": lines} for title, lines in found.items()]


NOT_SHOWN = "reported_step", "verdicts"     # of the report before


def collect(folder, opened):
    """Return what the page draws, as JSON can hold it."""
    model, data = opened.model, opened.text and opened.data()
    rows = read_metrics(folder)
    manifest = read_manifest(folder)
    for name in NOT_SHOWN:
        manifest.pop(name, None)
    samples = [row for row in rows if "sample" in row]
    return {"name": folder.name, "manifest": manifest, "curves": curves(rows),
            "times": times(rows),
            "samples": [{"step": row["step"], "text": row["sample"]} for row in samples],
            **of_text(model, data, TASKS[opened.task]),
            "profile": {name: read_if_there(folder / name) for name in PROFILE},
            "pages": sorted(path.name for path in folder.glob("step_*.html"))}


def of_text(model, data, task):
    """Return what is shown of a model that writes; less of one that does not."""
    found = {"passage": [], "attention": [], "tokens": []}
    if task.conclude or not data:
        return found
    found["tokens"] = token_map(model, data)
    if task.whole_text:                               # else no token is a surprise on its own
        n = min(PASSAGE_TOKENS, model.config.context_length)
        ids = np.asarray(data.val[:n + 1], np.int64)
        found["passage"] = passage(model, data, ids)
        found["attention"] = attention_maps(model, ids[:-1])
    return found


def read_if_there(path):
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def as_script(facts):
    """Write JSON that no text in it can break out of: `<` never stands there."""
    text = json.dumps(facts, default=plain).replace("<", "\\u003c")
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def plain(x):
    """Return a number of NumPy as one of Python, and what is no number in words."""
    return x.item() if isinstance(x, np.generic) else str(x)


def curves(rows):
    """Collect what is drawn over the steps, thinned out."""
    found = {}
    for name in CURVES:
        known = thinned([row for row in rows if name in row])
        found[name] = [[row["step"], row[name]] for row in known]
    return found


def times(rows):
    """Return [step, seconds that all steps took so far], thinned out."""
    steps = [row for row in rows if "loss" in row]
    seconds = np.cumsum([row.get("elapsed_s", 0.0) for row in steps])
    both = [[row["step"], s] for row, s in zip(steps, seconds.round(3).tolist())]
    return thinned(both)


def thinned(rows):
    stride = -(-len(rows) // POINTS)
    return rows[::stride or 1]


def passage(model, data, ids):
    """Return the tokens of a validation passage with the surprise at each, in bits."""
    bits = token_surprise(model, ids) / np.log(2)
    found = [{"text": show(data.tokenizer, i), "bits": None} for i in ids]
    for token, x in zip(found[1:], bits.tolist()):              # the first is not predicted
        token["bits"] = round(x, 2)
    return found


def show(tokenizer, i):
    return tokenizer.decode([int(i)])


def attention_maps(model, ids):
    """Record how much each token of a passage attends to each, per layer and head.

    Returns
    -------
    list of {"layer", "head", "size", "map"}, the map as base64 of (T, T) uint8
    """
    config, T = model.config, len(ids)
    layers = []                                                 # of (1, T, (H + 2 G) D)

    def look(node):
        if node.op.name == "self_attention":
            layers.append(node.inputs[0].data)
    with watch(look):
        model.stream(Batch(ids[None]))
    maps = []
    for layer, qkv in enumerate(layers, 1):
        (q,), (k,), _ = heads(qkv, config.n_head, config.kv_heads)     # (H, T, D), (G, T, D)
        p = attention_weights(q, k, config.causal)
        for head, weights in enumerate(p, 1):
            levels = np.round(255 * np.sqrt(weights))
            data = levels.astype(np.uint8).tobytes()
            text = base64.b64encode(data).decode()
            maps.append({"layer": layer, "head": head, "size": T, "map": text})
    return maps[:MAP_LIMIT]


def attention_weights(q, k, causal):
    """Return how much each query takes from each key: (H, T, D) and (G, T, D) to (H, T, T)."""
    H, T, D = q.shape
    k = np.repeat(k, H // len(k), axis=0)                       # (H, T, D)
    scores = q @ k.swapaxes(1, 2) * D ** -0.5                   # (H, T, T)
    if causal:
        hidden = np.triu(np.ones((T, T), bool), 1)              # keys behind the query
        scores[:, hidden] = -np.inf
    return softmax(scores)


def token_map(model, data):
    """Place the most frequent tokens in a plane: the two main axes of their embeddings."""
    tokenizer = data.tokenizer
    ids = data.ids(data.train)[:COUNTED]
    counts = np.bincount(ids, minlength=tokenizer.vocab_size)                   # (V,)
    chosen = np.argsort(-counts, kind="stable")[:TOKENS_SHOWN]
    chosen = chosen[counts[chosen] > 0]
    x = model.token_embedding.weight.data[chosen].astype(np.float64)
    x -= x.mean(axis=0)
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    places = (u * s)[:, :2]                                                     # (N, 2)
    places /= np.abs(places).max(axis=0) + 1e-12
    found = []
    for i, place in zip(chosen, places.tolist()):
        x, y = (round(a, 3) for a in place)
        text, count = show(tokenizer, i), int(counts[i])
        found.append({"text": text, "x": x, "y": y, "count": count})
    return found
