"""Measure the table that `gpt.planning` chooses sizes and tokenizers from.

    python benchmarks/planning_table.py sizes 2 5 30      minutes of each candidate
    python benchmarks/planning_table.py tokenizers 5

Every candidate trains on the plays for the same time, one after the other, and the validation bits
per byte decide: `sizes` tries shapes of the model, `tokenizers` vocabularies at the size that the
table has. A full run over 2, 5 and 30 minutes takes about 5 hours on 2 cores.
"""
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
# layers, width, heads, context, tokens per batch
SIZES = ((3, 128, 2, 64, 1024), (4, 128, 2, 64, 1024), (4, 192, 3, 64, 1024),
         (4, 192, 3, 128, 2048), (6, 192, 3, 128, 2048), (4, 256, 4, 128, 2048),
         (6, 256, 4, 256, 4096), (8, 384, 6, 256, 8192))
TOKENIZERS = (("char", 0), ("bpe", 512), ("bpe", 1024), ("bpe", 2048), ("bpe", 4096))


def train(minutes, flags):
    """Train for some minutes; return (bits per byte, steps, tokens per second)."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, str(ROOT / "train.py"), "shakespeare", "--plain",
                        "--minutes", str(minutes), "--runs", folder, "--name", "run", *flags],
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


def main(what, budgets):
    for minutes in budgets:
        print(f"\n| {minutes} minutes | bits/byte | steps | tokens/s |\n|---|---|---|---|")
        for name, flags in {"sizes": sizes, "tokenizers": tokenizers}[what]():
            bits, steps, speed = train(minutes, flags)
            print(f"| {name} | {bits:.3f} | {steps:,} | {speed:,.0f} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in ("sizes", "tokenizers"):
        raise SystemExit(__doc__)
    main(sys.argv[1], sys.argv[2:])
