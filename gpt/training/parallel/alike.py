"""Are the machines of a run alike? What each says of itself, and what differs.

    python -m gpt.training.parallel.alike              says it as JSON, of the machine where it runs
"""
import hashlib
import json
import platform
from importlib.metadata import version
from pathlib import Path

from minigrad.kernels.cache import cpu_features
from minigrad.kernels.threads import available_cores

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = "minigrad", "bpe", "gpt"


def facts():
    """Return what a machine says of itself, by name."""
    features = " ".join(sorted(cpu_features()))
    return {"Python": platform.python_version(), "NumPy": version("numpy"),
            "Numba": version("numba"), "minigrad": fingerprint(),
            "processor": f"{platform.machine()}, {digest(features.encode())}",
            "cores": available_cores()}


def fingerprint(root=ROOT):
    """Return a hash of our source files: with others a run would be another run."""
    found = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            found.update(path.relative_to(root).as_posix().encode())
            found.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return found.hexdigest()[:12]


def digest(data):
    return hashlib.sha256(data).hexdigest()[:8]


MUST_AGREE = "Python", "NumPy", "Numba", "minigrad"


def differences(by_host):
    """Yield (name, sentence) for what the machines do not have in common.

    Parameters
    ----------
    by_host : dict of str -> dict
        What `facts` returned on each.
    """
    first = next(iter(by_host))
    for name in *MUST_AGREE, "processor":
        for host, found in by_host.items():
            if found.get(name) != by_host[first].get(name):
                yield name, (f"{host} has {name} {found.get(name)}, and {first} has "
                             f"{by_host[first].get(name)}")


if __name__ == "__main__":
    print(json.dumps(facts()))
