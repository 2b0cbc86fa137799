"""`compare.html`: runs side by side, in one file without network."""
import hashlib
from itertools import combinations
from typing import NamedTuple

import numpy as np

from gpt.show.report import thinned, write_page
from gpt.training.folder import read_manifest, read_metrics
from gpt.verdicts.blocks import bits_of_bytes, bits_per_byte, blocks_of, reading
from gpt.verdicts.case import Case, Unfit
from gpt.verdicts.luck import ABOUT, compared, gap_told

CURVES = "val_bits", "loss", "val_right"


def collect(folders, opened, seconds):
    """Return what is told of runs side by side, as JSON can hold it.

    Parameters
    ----------
    folders : list of Path
    opened : list of Opened
        All of them runs.
    seconds : float
        For reading what they held out.
    """
    manifests = [read_manifest(folder) for folder in folders]
    names = [folder.name for folder in folders]
    if len({*names}) < len(names):
        names = [str(folder) for folder in folders]
    cases = [Case.of_opened(each) for each in opened]
    read = [measured(case, seconds / len(cases)) for case in cases]
    return {"names": names,
            "settings": [["", *names], *differing(opened)],
            "numbers": [["", *names], *numbers(cases, manifests, read)],
            "verdicts": [*verdicts(manifests)],
            "pairs": [*pairs(names, read)],
            "about": ABOUT,
            "curves": [curves(*each) for each in zip(folders, manifests)]}


def write_comparison(path, found):
    write_page("compare", path, found)


class Measured(NamedTuple):
    """What a run said to the text that it held out."""

    bits: np.ndarray | None        # (n_bytes,) the surprise at each byte
    text: str                      # its SHA256
    unfit: str = ""                # why there is nothing


def measured(case, seconds):
    """Read the held-out text: `Measured`."""
    try:
        found, data = reading(case, "val", seconds), case.text()
        ids = np.asarray(data.val)
        bits = bits_of_bytes(found, ids, case.tokenizer.token_bytes)
        digest = hashlib.sha256(data.text(ids))
        return Measured(bits, digest.hexdigest())
    except Unfit as reason:
        return Measured(None, "", str(reason))


# ---- tables, of words ----

def differing(opened):
    """Yield a row for each setting that is not the same in all: its name, and their values."""
    flat = [settings_of(each.config) for each in opened]
    for name in dict.fromkeys(name for one in flat for name in one):
        values = [str(one.get(name, "-")) for one in flat]
        if len({*values}) > 1:
            yield [name, *values]


def settings_of(config):
    parts = config.to_dict()
    preset = {"preset": parts.pop("preset")}
    for part in parts.values():
        preset |= {name: x for name, x in part.items() if name != "plan"}
    return preset


def numbers(cases, manifests, read):
    """Yield rows of numbers, a cell a run."""
    results = [manifest.get("result") or {} for manifest in manifests]
    parameters = [sum(x.size for x in case.model.parameters()) for case in cases]
    yield ["bits/byte, on what was held out", *map(mean_of, read)]
    yield ["bits/byte, at the end of training", *written(results, "bits_per_byte", "{:.4f}")]
    yield ["nats/token", *written(results, "nats_per_token", "{:.4f}")]
    yield ["steps", *written(results, "steps", "{:,}")]
    yield ["parameters", *map("{:,}".format, parameters)]
    yield ["FLOP a token", *written(manifests, "flops_per_token", "{:,}")]


def written(rows, name, form):
    values = [row.get(name) for row in rows]
    return ["-" if x is None else form.format(x) for x in values]


def mean_of(one):
    return "-" if one.bits is None else str(bits_per_byte(blocks_of(one.bits)))


def verdicts(manifests):
    """Yield a row for each question of the reports that were made."""
    found = []
    for manifest in manifests:
        asked = manifest.get("verdicts", [])
        found.append({question: verdict for question, verdict, _ in asked})
    for question in dict.fromkeys(name for one in found for name in one):
        yield [question, *[one.get(question, "-") for one in found]]


def pairs(names, read):
    """Yield how each two runs differ on the same text."""
    for (one, a), (other, b) in combinations(zip(names, read), 2):
        unfit = a.unfit or b.unfit
        if not unfit and a.text != b.text:
            unfit = "they held out different texts"
        if unfit:
            yield f"{one} and {other} cannot be compared: {unfit}"
        else:
            yield gap_told(one, *compared(a.bits, b.bits), other)


# ---- curves ----

def curves(folder, manifest):
    """Return points [step, seconds, FLOPs, value] of each curve of a run."""
    seconds = flops = 0.0
    a_token = manifest.get("flops_per_token", 0)
    found = {name: [] for name in CURVES}
    for row in read_metrics(folder):
        seconds += row.get("elapsed_s", 0.0)
        flops += row.get("n_tokens", 0) * a_token
        for name in CURVES:
            if name in row:
                place = row["step"], round(seconds, 3), flops
                found[name].append([*place, row[name]])
    return {name: thinned(points) for name, points in found.items()}
