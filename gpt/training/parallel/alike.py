"""What a machine says of itself before ranks are started on it, and in what machines differ.

    python -m gpt.training.parallel.alike              says it as JSON, of the machine where it runs
"""
import json

from gpt.training.parallel import joining
from minigrad.kernels.threads import available_cores

OF_ENVIRONMENT = "compiled kernels", "settings in the environment"     # which mpiexec hands on


def facts():
    """Return what a machine has, by name: what must be alike, and its cores."""
    found = joining.facts()
    for what in OF_ENVIRONMENT:
        del found[what]
    found["instruction sets"] = sorted(found["instruction sets"])
    return found | {"cores": available_cores()}


def difference(by_host):
    """Name the first thing in which a machine differs from the first, and how; None if none does.

    Parameters
    ----------
    by_host : dict of str -> dict
        What `facts` returned on each.
    """
    (first, ours), *others = by_host.items()
    for host, theirs in others:
        for what in [*ours]:
            if what != "cores" and ours[what] != theirs.get(what):
                here, there = map(as_set, (ours[what], theirs.get(what)))
                here, there = joining.apart(here, there)
                return f"{host} has {what} {there}, {first} has {here}"
    return None


def as_set(value):
    return frozenset(value) if isinstance(value, list) else value


if __name__ == "__main__":
    print(json.dumps(facts()))
