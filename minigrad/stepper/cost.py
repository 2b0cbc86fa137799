"""What a record says of memory and of work."""
from math import prod
from typing import NamedTuple

import numpy as np

from minigrad.mode import use


class Block(NamedTuple):
    """A piece of memory that is kept for the backward pass."""
    node: int                                         # the first that keeps it
    nbytes: int
    made: int                                         # the event from which on it is kept
    freed: int                                        # the event after which it is not


class Memory(NamedTuple):
    """The memory that the backward pass needs, event by event."""
    blocks: list
    kept: list                                        # bytes of blocks that live after each event
    waiting: list                                     # bytes of gradients that wait for their turn

    @property
    def peak(self):
        """The event with the most, and how much that is."""
        total = [k + w for k, w in zip(self.kept, self.waiting)]
        place = int(np.argmax(total)) if total else 0
        return place, total[place] if total else 0


def memory(t):
    """Follow what the nodes keep for their vjps, and what waits to be passed on.

    Memory that several nodes keep counts once, and is freed with the last of them. Parameters and
    other leaves live on anyway and are not counted.
    """
    made = {e.node: i for i, e in enumerate(t.events) if e.kind == "make"}
    last_act = {e.node: i for i, e in enumerate(t.events) if e.kind == "send"}
    blocks = {}
    for node in t.nodes:
        for memory_id, nbytes in node.saved:
            start = made[node.id]
            end = last_act.get(node.id, len(t.events))
            old = blocks.get(memory_id)
            blocks[memory_id] = (Block(old.node, nbytes, old.made, max(old.freed, end)) if old
                                 else Block(node.id, nbytes, start, end))
    blocks = sorted(blocks.values(), key=lambda b: (b.made, b.node))
    change = np.zeros(len(t.events) + 2, np.int64)
    for block in blocks:
        change[block.made] += block.nbytes
        change[block.freed + 1 if block.freed < len(t.events) else -1] -= block.nbytes
    return Memory(blocks, np.cumsum(change)[:len(t.events)].tolist(), waiting_bytes(t.events))


def waiting_bytes(events):
    """Sum the gradients that have arrived somewhere and are not yet used up."""
    waiting, out = {}, []
    last_act = {e.node: i for i, e in enumerate(events) if e.kind in ("send", "leaf")}
    for i, event in enumerate(events):
        if event.kind == "start":
            waiting = {event.node: event.g.nbytes}
        elif event.kind == "send":
            waiting[event.to] = event.total.nbytes
        if last_act.get(event.node) == i:
            waiting.pop(event.node, None)
        out.append(sum(waiting.values()))
    return out


# ---- work ------------------------------------------------------------------------------------

class Counted(np.ndarray):
    """An array that counts the floating-point operations that are done with it."""
    flops = 0

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        inputs = [plain(x) for x in inputs]
        if out is not None:
            options["out"] = tuple(plain(x) for x in out)
        result = getattr(ufunc, method)(*inputs, **options)
        if ufunc is np.matmul:
            Counted.flops += 2 * np.size(result) * inputs[0].shape[-1]
        elif method == "__call__":
            Counted.flops += np.size(result)
        else:
            Counted.flops += max(np.size(x) for x in inputs if isinstance(x, np.ndarray))
        return np.asarray(result).view(Counted) if result is not None else None


def plain(x):
    return np.asarray(x) if isinstance(x, Counted) else x


def count(function, *args, **params):
    """Run a formula on arrays that count; None where it cannot be run so."""
    def counting(x):
        return x.view(Counted) if type(x) is np.ndarray and x.dtype.kind == "f" else x
    Counted.flops = 0
    try:
        with np.errstate(all="ignore"), use("reference"):
            out = function(*map(counting, args), **params)
    except (TypeError, ValueError, AttributeError, NotImplementedError):
        return None, None
    return Counted.flops, out


def flops(t):
    """Count the operations of every node: {id: (forward, backward)}.

    The formula (level reference) is run once more, on arrays that count: one for each element that
    NumPy adds, multiplies, compares or takes a function of, 2 m k n for a product of matrices.
    """
    found = {}
    for node in t.nodes:
        if node.op is None or any(type(t.nodes[i].value) is tuple for i in node.refs):
            continue
        args = [t.nodes[x.id].value if hasattr(x, "id") else x for x in node.args]
        forward, out = count(node.op.forward, *args, **node.params)
        if forward is None:
            continue
        value, saved = out
        found[node.id] = forward, backward_flops(t, node, saved)
    return found


def backward_flops(t, node, saved):
    vjp = node.op.bodies["reference"][1]
    saved = tuple(plain(s) for s in saved)
    if vjp.asks:
        saved = (*saved, tuple(hasattr(x, "id") and t.nodes[x.id].requires_grad for x in node.args))
    g = (tuple(np.ones_like(x) for x in node.value) if type(node.value) is tuple
         else np.ones_like(node.value))
    return count(vjp, g, *saved)[0] or 0


def seconds_text(seconds):
    return f"{seconds * 1e6:.0f} us" if seconds < 1e-3 else f"{seconds * 1e3:.2f} ms"


def bytes_text(n):
    """Write a number of bytes with a unit."""
    for unit in ("bytes", "KiB", "MiB"):
        if n < 1024:
            return f"{n:.0f} {unit}" if unit == "bytes" else f"{n:.1f} {unit}"
        n /= 1024
    return f"{n:.2f} GiB"


def parameters_bytes(t):
    """Sum the leaves that a gradient flows to."""
    return sum(prod(node.value.shape) * node.value.itemsize
               for node in t.nodes if node.op is None and node.requires_grad)
