"""`train.py --check`: is the code right for a net of these settings, before it is trained?"""
import numpy as np

from gpt.settings import ConfigError
from gpt.verdicts.case import FAILS, NONE, Case
from gpt.verdicts.sections import CODE, answers

SECONDS = 50                       # for all checks together


def check_run(run, say):
    """Ask what must hold of the code, of a small net of a run's settings, and say the answers.

    Raises
    ------
    ConfigError
        If one fails.
    """
    wrong, n = [], 0
    for _, question, line, seconds in answers(small(run), SECONDS, [CODE]):
        say(f"{line.verdict:9} {question.name}: {line.said} ({seconds:.1f} s)")
        n += line.verdict != NONE
        if line.verdict == FAILS:
            wrong.append(question.name)
    if wrong:
        raise ConfigError(f"{len(wrong)} of {n} checks failed: {'; '.join(wrong)}")
    say(f"all {n} checks hold for these settings")


def small(run):
    """Make a net like the run's, of at most two layers, with no weight at zero: `Case`."""
    n_layer = min(2, run.config.model.n_layer)
    config = run.config.changed(n_layer=n_layer, dropout=0.0, precision="float32")
    rng = np.random.default_rng(1)
    model = config.new_net(rng)
    for x in model.parameters():
        noise = 0.05 * rng.standard_normal(x.shape)
        x.data += noise.astype(x.dtype)
    return Case(model, run.data.tokenizer, config, run.data)
