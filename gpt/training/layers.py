"""The layers of a net from the top down: which of them learn, and how fast each."""
import math
import re

from gpt.models.lora import is_adapter, matches
from gpt.training.tasks import task_named

HEAD_RATE = 10                     # times that of the top block, where layers differ


BEHIND = 1 << 30                   # all blocks


def depths(model):
    """Return {parameter: layer}: 0 before the blocks, then each block, then all behind them."""
    found, highest = {}, 0
    for name, x in model.named_parameters():
        block = re.search(r"\bblocks\.(\d+)\.", name)
        if block:
            highest = 1 + int(block[1])
            found[x] = highest
        else:
            found[x] = BEHIND if highest else 0
    return {x: min(depth, highest + 1) for x, depth in found.items()}


def freeze(model, settings):
    """Let parameters not learn that the settings freeze: with adapters, what is not beside them."""
    head = task_named(settings.task).puts
    for name, x in model.named_parameters():
        if matches(name, settings.freeze):
            x.requires_grad = False
        elif settings.lora_rank and not (head and name.startswith(head)):
            x.requires_grad = is_adapter(name) or matches(name, settings.lora_beside)


def rates(model, settings):
    """Return {parameter: share}, what its learning rate is multiplied with.

    Discriminative rates (Howard & Ruder 2018, arXiv:1801.06146, 3.2): from the top block down
    each is the one above divided by `divide_rates`; what a task has put on the net learns faster.
    """
    layer, divisor = depths(model), settings.divide_rates
    if divisor == 1:
        return dict.fromkeys(layer, 1.0)
    top, head = max(layer.values()) - 1, task_named(settings.task).puts
    share = {}
    for name, x in model.named_parameters():
        below = max(0, top - layer[x])
        on_head = head and name.startswith(head)
        share[x] = HEAD_RATE if on_head else divisor ** -below
    return share


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
    share = 1.0
    if progress < unfreeze:
        share = progress / unfreeze
    n = 1 + math.floor(share * (len(layers) - 1) + 1e-9)
    wanted = {x: layer[x] in layers[:n] for x in learnt}
    changes = any(x.requires_grad != now for x, now in wanted.items())
    for x, now in wanted.items():
        x.requires_grad = now
    return changes
