"""The layers of a net from the top down: which of them learn, and how fast each."""
import math
import re
from fnmatch import fnmatchcase

from gpt.training.tasks import task_named

HEAD_RATE = 10                     # times that of the top block, where layers differ


def depths(model):
    """Return {parameter: layer}: 0 before the blocks, then each block, then all behind them."""
    found, highest = {}, 0
    for name, x in model.named_parameters():
        block = re.search(r"\bblocks\.(\d+)\.", name)
        if block:
            highest = max(highest, 1 + int(block[1]))
        found[x] = 1 + int(block[1]) if block else None if highest else 0
    return {x: highest + 1 if depth is None else depth for x, depth in found.items()}


def freeze(model, patterns):
    """Let parameters not learn whose names match one of some globs, commas between."""
    for name, x in model.named_parameters():
        if any(fnmatchcase(name, pattern) for pattern in patterns.split(",") if pattern):
            x.requires_grad = False


def rates(model, settings):
    """Return {parameter: share}, what its learning rate is multiplied with.

    Discriminative rates (Howard & Ruder 2018, arXiv:1801.06146, 3.2): from the top block down
    each is the one above divided by `divide_rates`; what a task has put on the net learns faster.
    """
    layer, divisor = depths(model), settings.divide_rates
    if divisor == 1:
        return dict.fromkeys(layer, 1.0)
    highest, head = max(layer.values()) - 1, task_named(settings.task).puts
    share = {x: divisor ** min(0, depth - highest) for x, depth in layer.items()}
    on_top = {x: HEAD_RATE for name, x in model.named_parameters() if head and
              name.startswith(head)}
    return share | on_top


def thaw(model, learnt, progress, unfreeze):
    """Let learn, of the parameters `learnt`, those of the layers whose time has come.

    Gradual unfreezing (3.3 there): at first the top layer, one more at a time until progress
    reaches `unfreeze`. Who waits has no gradient, so no step and no decay either.

    Returns
    -------
    bool
        Whether that is another choice than before.
    """
    layer = depths(model)
    layers = sorted({layer[x] for x in learnt}, reverse=True)
    share = min(1.0, progress / unfreeze) if unfreeze else 1.0
    n = 1 + math.floor(share * (len(layers) - 1) + 1e-9)
    wanted = {x: layer[x] in layers[:n] for x in learnt}
    changes = any(x.requires_grad != now for x, now in wanted.items())
    for x, now in wanted.items():
        x.requires_grad = now
    return changes
