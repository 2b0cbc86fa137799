"""Started on 4 ranks by test_pipeline.py: stages of a net against one process, bit for bit."""
import sys
import tempfile
from pathlib import Path

from gpt.data.corpora import stories
from gpt.data.documents import prepare
from gpt.training.config import Config
from gpt.training.parallel.pipeline import Pipeline
from gpt.training.parallel.world import joined
from gpt.training.plan import Plan
from gpt.training.run import Run
from gpt.training.step import train_steps
from minigrad.kernels import jit

TINY = dict(n_layer=4, n_head=2, d_model=16, context_length=16, batch_tokens=128, steps=20,
            clip_norm=0.05)
STEPS = 10
# (ranks, stages, schedule, settings)
CASES = [
    (2, 2, "gpipe", {}),
    (2, 2, "1f1b", dict(dropout=0.2, micro_batch=3)),
    (2, 2, "zero_bubble", dict(dropout=0.2)),
    (4, 4, "gpipe", dict(preset="gpt2", dropout=0.1)),
    (4, 4, "1f1b", dict(preset="gpt2", optimizer="adamw")),
    (4, 4, "zero_bubble", dict(preset="gpt2", micro_batch=1)),
    (3, 3, "zero_bubble", dict(preset="llama", optimizer="adamw", n_layer=5)),
    (2, 2, "zero_bubble", dict(look_back=2, ngram_rows=50, recompute=True)),
    (2, 2, "1f1b", dict(norm_position="post", tie_weights=True, optimizer="adamw")),
    (2, 2, "zero_bubble", dict(freeze="*embedding*,blocks.0.*,blocks.1.*")),
    (2, 2, "1f1b", dict(preset="gpt2", unfreeze=0.8)),
    (2, 2, "zero_bubble", dict(preset="gpt2", d_model=96, n_layer=2, batch_tokens=2048,
                               context_length=64)),
]


def config_of(data, preset="fast", **more):
    settings = TINY | {"vocab_size": data.tokenizer.vocab_size} | more
    return Config.make(preset, **settings)


def steps_of(run, n=STEPS):
    return [record[:5] for _, record in zip(range(n), train_steps(run))]


def piped(world, data, ranks, stages, schedule, settings):
    """Train on some ranks; rank 0 returns the records and all tensors."""
    if world.rank >= ranks:
        world.part([*range(ranks, world.size)])
        return None
    some = world.part([*range(ranks)])
    run = Run.start(config_of(data, **settings), data, Plan.fixed(20))
    run.way = Pipeline(run, some, stages, schedule)
    records = steps_of(run)
    with run.way.whole():
        return run, records, run.tensors()


def alone(data, stages, settings):
    config = config_of(data, **settings)
    if not config.train.micro_batch:
        rows = config.train.batch_tokens // config.model.context_length
        config = config.changed(micro_batch=max(1, rows // (4 * stages)))
    run = Run.start(config, data, Plan.fixed(20))
    return run, steps_of(run), run.tensors()


def differences(found, expected):
    """Yield what is not the same to the bit."""
    if found[0] != expected[0]:
        yield f"records {found[0][-1]} and {expected[0][-1]}"
    if [*found[1]] != [*expected[1]]:
        yield "names"
    for name, x in expected[1].items():
        if found[1][name].tobytes() != x.tobytes():
            yield name


def check(world, data, case):
    found = piped(world, data, *case)
    if world.rank == 0:
        _, stages, _, settings = case
        run, *expected = alone(data, stages, settings)
        wrong = [*differences(found[1:], expected)]
        print("same" if not wrong else f"DIFFERS: {wrong[:8]}", *case, flush=True)
        return not wrong
    return True


def main():
    jit._Progress.said = 1
    world = joined()
    with tempfile.TemporaryDirectory() as folder:
        data = prepare(stories(200), Config.make(tokenizer="char").data, Path(folder))
        good = [check(world, data, case) for case in CASES]
    if not all(world.collect(all(good))):
        sys.exit(1)
    if world.rank == 0:
        print(f"{len(good)} runs are the same to the bit")


if __name__ == "__main__":
    main()
