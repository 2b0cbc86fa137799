"""Where a node was made: the line of source, the modules and functions around it, its name."""
import linecache
import os
from collections import Counter
from types import FunctionType, ModuleType
from typing import NamedTuple

from minigrad import ops, tensor
from minigrad.nn import Module
from minigrad.tensor import OPS, Tensor

OPS_FOLDER = os.path.dirname(ops.__file__) + os.sep
MINIGRAD = os.path.dirname(tensor.__file__) + os.sep
STEPPER = os.path.join(MINIGRAD, "stepper", "")
MOST_HELD = 2000                                      # objects to look into for named tensors
ENGINE = {MINIGRAD + name for name in ("tensor.py", "functional.py", "mode.py")}
ENGINE |= {STEPPER + name for name in ("record.py", "recording.py", "again.py")}


class Place(NamedTuple):
    """Where a node was made."""
    group: tuple                                      # modules and functions, outermost first
    line: str                                         # "expr.py:3"
    text: str                                         # what stands there
    inner: str                                        # at level parts, the line in the fused op


class Places:
    """Read the call stack at each node, and tell one call of a function from the next.

    Parameters
    ----------
    home : frame
        Of the `with trace()` block: what lies outside it does not count.
    """

    def __init__(self, home):
        self.home, self.chain, self.calls = home, [], Counter()
        self.holders = {}                             # id -> the object, so that it lives; held
        composed = [op for op in OPS.values() if op.composition]
        self.fused = {op.composition.__code__: op.name for op in composed}

    def of(self, frame, origin=None):
        """Describe the op that is being called in `frame`; `origin` is the node it replaces."""
        frames = self.inside(frame)
        group = self.group(frames, origin.place.group if origin else ())
        own, inner = self.home, ""
        for frame in frames:
            if frame.f_code in self.fused:
                inner = " ".join(line_of(frame))
            elif not in_engine(frame):
                own = frame
        if origin:
            return origin.place._replace(group=group, inner=inner)
        return Place(group, *line_of(own), inner)

    def inside(self, frame):
        """Return the frames from the home block (left out) to this one, outermost first."""
        frames = []
        while frame is not None and frame is not self.home:
            frames.append(frame)
            frame = frame.f_back
        return frames[::-1]

    def group(self, frames, group):
        """Name the calls that a node was made in, counting a second call of the same name."""
        chain, same, holder = [], True, None
        for i, frame in enumerate(frames):
            same = same and i < len(self.chain) and self.chain[i][0] is frame
            label, holder = self.label(frame, holder)
            if same:
                group = self.chain[i][1]
            elif label:
                self.calls[group, label] += 1
                n = self.calls[group, label]
                group = (*group, label if n == 1 else f"{label} #{n}")
            chain.append((frame, group))
        self.chain = chain                            # keeps the frames, so that none is mistaken
        return group

    def label(self, frame, holder):
        """Name a call: the op that has parts, the attribute that holds the module, the function."""
        code = frame.f_code
        if code in self.fused:
            return self.fused[code], holder
        if in_engine(frame) or code.co_name.startswith("<"):
            return None, holder
        owner = frame.f_locals.get("self")
        if owner is None or isinstance(owner, Tensor) or not hasattr(owner, "__dict__"):
            return code.co_name, holder
        is_call = code.co_name in ("__call__", "forward")
        if owner is holder:
            return None if is_call else code.co_name, holder
        name = holder and (find(vars(holder), owner) or held(holder, type(owner)).get(owner))
        if not name and holder and not is_call:
            return None, holder                       # a method of what merely holds arrays
        return name or type(owner).__name__, owner

    def name(self, made_in):
        """Find which variables or attributes hold tensors now.

        Parameters
        ----------
        made_in : dict
            From each tensor to the group it was made in, None for a leaf.

        Returns
        -------
        dict
            {tensor: name}, the outermost holder's word first. An argument's name counts only
            inside the call that made the tensor: what is passed to f(x) is not thereby called x.
        """
        found = {}
        for frame, group in [(self.home, ()), *self.chain]:
            if frame is None or in_engine(frame) and frame.f_code not in self.fused:
                continue
            local = {k: v for k, v in frame.f_locals.items() if not k.startswith(("_", "@"))}
            own, fields = vars_of(local.get("self")), {}
            for holder in [x for k, x in local.items() if k == "self" or isinstance(x, Module)]:
                fields |= self.held_once(holder)
            arguments = frame.f_code.co_varnames[:frame.f_code.co_argcount]
            for x, made in made_in.items():
                name = (find(local, x) or fields.get(x) or find(own, x)
                        or find(frame.f_globals, x))
                outside = made is not None and made[:len(group)] != group
                if name and x not in found and not (name in arguments and outside):
                    found[x] = name
        return found

    def held_once(self, holder):
        """Find the tensors that an object holds when it is first asked: parameters stay there."""
        if id(holder) not in self.holders:
            self.holders[id(holder)] = holder, held(holder, Tensor)
        return self.holders[id(holder)][1]

    def close(self):
        self.home, self.chain, self.holders = None, [], {}


def in_engine(frame):
    name = frame.f_code.co_filename
    return name in ENGINE or name.startswith(OPS_FOLDER)


def line_of(frame):
    """Return "file:line" and the text of that line."""
    if frame is None:
        return "", ""
    path, number = frame.f_code.co_filename, frame.f_lineno
    return f"{os.path.basename(path)}:{number}", linecache.getline(path, number).strip()


def vars_of(owner):
    """Return the fields of an object that are not its own matter."""
    fields = getattr(owner, "__dict__", {})
    return {key: part for key, part in fields.items() if not key.startswith("_")}


def held(owner, kind):
    """Find things of a kind that a module holds, or what it holds: {tensor: "blocks[0].weight"}."""
    found, seen, queue = {}, set(), [("", owner)]
    for path, holder in queue:                        # it grows while it is read
        if id(holder) in seen or len(seen) > MOST_HELD:
            continue
        seen.add(id(holder))
        for key, part in parts_of(holder):
            if isinstance(part, kind):
                found.setdefault(part, (path + key).lstrip("."))
            if not isinstance(part, Tensor):
                queue.append((path + key, part))
    return found


def parts_of(holder):
    """Yield what a list, a dict or an object holds, and how that is written."""
    if isinstance(holder, list | tuple):
        for i, part in enumerate(holder):
            yield f"[{i}]", part
    elif isinstance(holder, dict):
        for key, part in holder.items():
            yield f".{key}", part
    elif not isinstance(holder, type | FunctionType | ModuleType):
        for key, part in vars_of(holder).items():
            yield f".{key}", part


def find(values, thing):
    """Find the key under which a dict holds a thing, itself or in a list, tuple or dict of it."""
    for key, value in values.items():
        if value is thing:
            return str(key)
    for key, value in values.items():
        if isinstance(value, list | tuple) and len(value) <= 100:
            for i, part in enumerate(value):
                if part is thing:
                    return f"{key}[{i}]"
        elif isinstance(value, dict) and len(value) <= 100:
            for inner, part in value.items():
                if part is thing:
                    return str(inner)
    return None
