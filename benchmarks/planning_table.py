"""Measure the tables of `gpt.training.recipes`: sizes, tokenizers, what helps a text seen often.

    python benchmarks/planning_table.py sizes 2 5 30      minutes of each candidate
    python benchmarks/planning_table.py tokenizers 5
    python benchmarks/planning_table.py recipes 1 5 30 [FILE]

Every candidate trains for the same time, one after the other, on the plays or a file of yours, and
the validation bits per byte decide: `sizes` tries shapes of the model, `tokenizers` vocabularies
and `recipes` the settings for each number of passes, both at the size that the table has. Sizes for
2, 5 and 30 minutes take about 5 hours on 2 cores.
"""
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:1] = [str(ROOT), str(Path(__file__).parent)]       # or gpt would be gpt.py beside this

from gpt.training.config import Config  # noqa: E402
from gpt.training.recipes import RECIPES  # noqa: E402

# layers, width, heads, context, tokens per batch
SIZES = ((3, 128, 2, 64, 1024), (4, 128, 2, 64, 1024), (4, 192, 3, 64, 1024),
         (4, 192, 3, 128, 2048), (6, 192, 3, 128, 2048), (4, 256, 4, 128, 2048),
         (6, 256, 4, 256, 4096), (8, 384, 6, 256, 8192))
TOKENIZERS = (("char", 0), ("bpe", 512), ("bpe", 1024), ("bpe", 2048), ("bpe", 4096))


def train(text, minutes, flags):
    """Train for some minutes; return (bits per byte, steps, tokens per second)."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, str(ROOT / "train.py"), text, "--plain",
                        "--minutes", str(minutes), "--runs", folder, "--name", "run",
                        *USUAL, *flags],
                       check=True, stdout=subprocess.DEVNULL,
                       env={**os.environ, "PYTHONPATH": str(ROOT)})
        run = Path(folder) / "run"
        result = json.loads((run / "manifest.json").read_text(encoding="utf-8"))["result"]
        rows = [json.loads(line) for line in (run / "metrics.jsonl").open(encoding="utf-8")]
    speeds = [row["tokens_s"] for row in rows if "tokens_s" in row]
    return result["bits_per_byte"], result["steps"], sum(speeds) / len(speeds)


def sizes():
    for n_layer, d_model, n_head, context, batch in SIZES:
        yield f"{n_layer} x {d_model}, context {context}, batch {batch}", [
            "--n_layer", str(n_layer), "--d_model", str(d_model), "--n_head", str(n_head),
            "--context_length", str(context), "--batch_tokens", str(batch)]


def tokenizers():
    for kind, vocabulary in TOKENIZERS:
        yield f"{kind} {vocabulary or ''}", ["--tokenizer", kind, "--vocabulary", str(vocabulary)]


def recipes():
    for row in RECIPES["fast"]:
        yield ", ".join(map(str, row.settings)) or "neither", words(row.settings)


def words(settings):
    return [word for name, value in settings.items() for word in (f"--{name}", str(value))]


# What a recipe would set, at its default: so that candidates differ in one thing.
USUAL = words({name: getattr(part, name) for row in RECIPES["fast"] for name in row.settings
               for part in (Config().model, Config().train) if hasattr(part, name)})


CANDIDATES = {"sizes": sizes, "tokenizers": tokenizers, "recipes": recipes}


def main(what, args):
    budgets = [arg for arg in args if arg.replace(".", "").isdigit()]
    text = next((arg for arg in args if arg not in budgets), "shakespeare")
    if not budgets:
        print(f"no minutes among {' '.join(args)!r}: say how long to train each candidate, as in "
              f"{what} 2", file=sys.stderr)
        return 2
    for minutes in budgets:
        print(f"\n| {minutes} minutes | bits/byte | steps | tokens/s |\n|---|---|---|---|")
        for name, flags in CANDIDATES[what]():
            bits, steps, speed = train(text, minutes, flags)
            print(f"| {name} | {bits:.3f} | {steps:,} | {speed:,.0f} |", flush=True)
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in CANDIDATES:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    sys.exit(main(sys.argv[1], sys.argv[2:]))
