"""Properties of the one place with Numba's options: no stale cache, any threads, no surprises."""
import ast
import os
import shutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from types import ModuleType

import numba
import numpy as np
import pytest

import minigrad
from minigrad import Op, jit
from minigrad.jit import kernel, prange

PACKAGE = Path(jit.__file__).parent


@kernel(parallel=True)
def _double(x, out):
    for i in prange(x.size):
        out[i] = 2 * x[i]


@pytest.fixture
def project(tmp_path):
    return make_project(tmp_path)


def make_project(tmp_path):
    """Make a package of the same name with jit.py, a helper, a kernel, and its own cache."""
    package = tmp_path / "minigrad"
    package.mkdir()
    (package / "__init__.py").write_text("")
    shutil.copy(PACKAGE / "jit.py", package)
    (package / "unrelated.py").write_text("A = 1\n")
    (package / "constants.py").write_text("SCALE = 3.0\n")
    (package / "helper.py").write_text(textwrap.dedent("""
        from minigrad.constants import SCALE
        from minigrad import jit
        @jit.helper(inline=True)
        def scaled(x):
            return SCALE * x
        """))
    (package / "kernels.py").write_text(textwrap.dedent("""
        import sys
        import numpy as np
        from minigrad import jit
        from minigrad.helper import scaled
        @jit.kernel
        def total(x):
            s = x.dtype.type(0)
            for i in range(x.size):
                s += scaled(x[i])
            return s
        print(total(np.ones(4)))
        """))
    return tmp_path


def run(project, code="import minigrad.kernels", **environment):
    """Run code in the project; return what it printed and the names of its cache directories."""
    environment = {"MINIGRAD_CACHE_DIR": str(project / "cache"), "PYTHONPATH": str(project),
                   **environment}
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], text=True, cwd=project,
                          env=os.environ | environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    folders = {path.name for path in (project / "cache").glob("*")}
    return done.stdout.split(), folders, done.stderr


def edit(project, name, old, new):
    path = project / "minigrad" / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def kernels_of(folders):
    return {name for name in folders if name.startswith("kernels-")}


# ---- the cache ----

def test_later_processes_compile_nothing_even_if_other_files_changed_and_know_it(project):
    ask = "from minigrad import jit; print(jit.compiled_before('minigrad/kernels.py'));"
    first, folders, said = run(project, ask + "import minigrad.kernels")
    assert "compiling kernels (once per installation)" in said and first[0] == "False"
    edit(project, "unrelated.py", "1", "2")
    assert run(project, ask + "import minigrad.kernels") == (["True", *first[1:]], folders, "")
    assert {name.split("-")[0] for name in folders} == {"kernels"}           # none for the helper


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The names of the directories that the project makes before anything is changed."""
    project = make_project(tmp_path_factory.mktemp("compiled"))
    return run(project)[1]


@pytest.mark.parametrize("name, old, new, value", [
    ("helper.py", "SCALE * x", "SCALE * x + 1", "16.0"),           # a helper in another file
    ("constants.py", "3.0", "5.0", "20.0"),                        # what that file imports
    ("jit.py", '"contract", "arcp"', '"contract"', "12.0"),        # an option
])
def test_a_change_anywhere_gives_a_new_directory_and_the_new_answer(project, compiled, name, old,
                                                                    new, value):
    edit(project, name, old, new)
    printed, folders, _ = run(project)
    assert printed == [value] and not kernels_of(folders) & kernels_of(compiled)


def test_the_processor_and_numbas_options_are_part_of_the_directory(project, compiled):
    code = "from minigrad import jit; jit.cache_directory('minigrad/kernels.py')"
    assert run(project, code)[1] == kernels_of(compiled)
    assert len(run(project, code, NUMBA_OPT="1")[1]) == 2
    assert len(run(project, code, NUMBA_CPU_NAME="generic")[1]) == 3


def test_kernels_typed_at_a_prompt_work_without_a_cache():
    names = {"kernel": kernel}
    exec("@kernel\ndef plus_one(x): return x + 1", names)
    assert names["plus_one"](2) == 3


def test_numbas_own_cache_setting_is_left_alone(project):
    code = ("import numba; before = numba.config.CACHE_DIR; import minigrad.kernels;"
            "assert numba.config.CACHE_DIR == before == 'elsewhere'")
    run(project, code, NUMBA_CACHE_DIR="elsewhere")
    assert not (project / "elsewhere").exists()


def test_a_place_that_cannot_be_written_only_costs_the_cache(project):
    blocked = project / "file"
    blocked.write_text("in the way")
    printed, _, _ = run(project, MINIGRAD_CACHE_DIR=str(blocked))
    assert printed == ["12.0"] and blocked.read_text() == "in the way"


def test_directories_of_older_versions_are_removed_but_not_those_in_use(tmp_path, monkeypatch):
    source = tmp_path / "some_kernels.py"
    monkeypatch.setenv("MINIGRAD_CACHE_DIR", str(tmp_path / "cache"))
    old, recent, other = (tmp_path / "cache" / name for name in
                          ("some_kernels-0", "some_kernels-recent", "some_kernels_more-1"))
    olds = [old.with_name(f"some_kernels-{i}") for i in range(jit.KEPT + 2)]
    for age, folder in enumerate([recent, other, *olds]):
        folder.mkdir(parents=True)
        seconds = 0 if folder is recent else 1_000_000 + age
        os.utime(folder, (os.stat(folder).st_atime, os.stat(folder).st_mtime - seconds))
    source.write_text("x = 1\n")
    newest = jit.cache_directory(str(source))
    assert newest.exists() and recent.exists() and other.exists()
    kept = [folder for folder in olds if folder.exists()]
    assert kept == olds[:jit.KEPT - 2]


def test_imports_are_followed_through_every_form():
    for name in ("ops/linear.py", "gemm.py"):
        found = {path.name for path in jit.imported_files(PACKAGE / name)}
        assert {"gemm.py", "microkernel.py", "jit.py", "parallel.py"} <= found


@pytest.mark.skipif(not jit.COMPILED, reason="nothing is compiled")
def test_the_code_of_a_snippet_is_not_kept(tmp_path):
    path, names = tmp_path / "page.md", {"__name__": "__test__"}
    path.write_text("def f(x, out):\n    out[0] = x[0]\n", encoding="utf-8")
    exec(compile(path.read_text(encoding="utf-8"), path, "exec"), names)
    out = np.zeros(1)
    kernel(names["f"])(np.ones(1), out)
    assert out[0] == 1 and not jit.compiled_before(path)


@pytest.mark.parametrize("text, names", [
    ("from minigrad import jit, gemm", {"jit.py", "gemm.py"}),
    ("from minigrad import jit, Tensor", {"__init__.py", "jit.py"}),   # not only modules
    ("from minigrad import *", {"__init__.py"}),
    ("from minigrad.gemm import matmul", {"gemm.py"}),
    ("    from minigrad.ops import linear as other  # why", {"linear.py"}),
    ("from minigrad import (  # two (lines)\n    gemm,\n    jit)", {"gemm.py", "jit.py"}),
    ("from minigrad import gemm, \\\n    jit", {"gemm.py", "jit.py"}),
    ("import numpy, minigrad.gemm as g", {"__init__.py", "gemm.py"}),
    ("import numpy\nfrom math import pi\nx = 'from'", set()),
    ("from minigrad import", {"__init__.py"}),
    ("import os; from minigrad import gemm; x = 1", {"gemm.py"}),
    ("if True: from minigrad import gemm", {"gemm.py"}),
    ("try: import minigrad.gemm\nexcept OSError: import minigrad.jit",
     {"__init__.py", "gemm.py", "jit.py"}),
    ("\ufefffrom minigrad import gemm  # caf\xe9", {"gemm.py"}),
    ("x = '>>> #'; import minigrad.vmath", {"__init__.py", "vmath.py"}),
    ("from minigrad import (gemm,  # one)\n    jit as j)", {"gemm.py", "jit.py"}),
    ("from minigrad . ops import linear", {"linear.py"}),
    ("import os, minigrad . vmath as v", {"__init__.py", "vmath.py"}),
    ("import\\\nminigrad.vmath", {"__init__.py", "vmath.py"}),
    ("# from minigrad import vmath", {"vmath.py"}),                # one too many does no harm
    ("\"\"\"\n    >>> from minigrad import Tensor\n>>> import minigrad\n\"\"\"", set()),
])
def test_an_import_names_files(tmp_path, text, names):
    path = tmp_path / "some.py"
    path.write_text(text, encoding="utf-8")
    assert {found.name for found in jit._direct_imports(path)} == names


def test_all_imports_are_found_that_the_parser_finds():
    known = {module_of(path) for path in PACKAGE.rglob("*.py")}
    for path in sorted(PACKAGE.rglob("*.py")):
        names = set()
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert not node.level
                taken = {f"{node.module}.{alias.name}" for alias in node.names}
                names |= taken if taken <= known else {node.module, *taken}
        assert {module_of(found) for found in jit._direct_imports(path)} >= names & known


@pytest.mark.parametrize("package", [minigrad, minigrad.ops])
def test_what_a_package_calls_like_one_of_its_modules_is_from_there(package):
    """Or a kernel's file could take it from the package, and only the module would be hashed."""
    for path in Path(package.__file__).parent.glob("[!_]*.py"):
        found = getattr(package, path.stem, None)
        if isinstance(found, Op):
            assert found.forward.__module__ == module_of(path)
        elif found is not None and not isinstance(found, ModuleType):
            assert found.__module__ == module_of(path)


def test_a_change_in_one_operation_leaves_the_kernels_of_others_alone():
    for name in ("gemm.py", "vmath.py", "optim/kernels.py", "ops/norm.py", "ops/attention.py"):
        found = {path.name for path in jit.imported_files(PACKAGE / name)}
        assert not found & {"__init__.py", "loss.py", "embedding.py", "more.py"}


def module_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


# ---- threads ----

def make_machine(root, siblings, quota=None, group="/"):
    for cpu, cores in enumerate(siblings):
        folder = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(cores + "\n")
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(f"0::{group}\n")
    if quota:
        folder = root / "sys/fs/cgroup" / group.lstrip("/")
        folder.mkdir(parents=True)
        (folder / "cpu.max").write_text(quota + "\n")
    return root


@pytest.mark.parametrize("siblings, cpus, quota, cores", [
    (["0", "1", "2", "3"], {0, 1, 2, 3}, None, 4),
    (["0-1", "0-1", "2-3", "2-3"], {0, 1, 2, 3}, None, 2),         # hyperthreads count once
    (["0-1", "0-1", "2-3", "2-3"], {0, 1}, None, 1),               # affinity
    (["0", "1", "2", "3"], {0, 1, 2, 3}, "250000 100000", 2),      # a quota of 2.5 cores
    (["0", "1", "2", "3"], {0, 1, 2, 3}, "50000 100000", 1),
    (["0", "1", "2", "3"], {0, 1, 2, 3}, "max 100000", 4),
])
def test_cores_are_physical_within_affinity_and_quota(tmp_path, siblings, cpus, quota, cores):
    root = make_machine(tmp_path, siblings, quota, "/job/step")
    assert jit.available_cores(root, cpus) == cores


def test_a_quota_of_a_group_above_counts_too(tmp_path):
    root = make_machine(tmp_path, ["0", "1", "2", "3"], "max 100000", "/job/step")
    (root / "sys/fs/cgroup/job/cpu.max").write_text("100000 100000\n")
    assert jit.available_cores(root, {0, 1, 2, 3}) == 1


def test_quotas_of_the_first_version_of_control_groups_count(tmp_path):
    root = make_machine(tmp_path, ["0", "1", "2", "3"])
    (root / "proc/self/cgroup").write_text("4:cpu,cpuacct:/job\n1:memory:/job\n")
    folder = root / "sys/fs/cgroup/cpu/job"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text("200000\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    assert jit.available_cores(root, {0, 1, 2, 3}) == 2


def test_threads_are_set_for_every_calling_thread():
    before = jit.threads()
    x, out, seen = np.ones(1000), np.empty(1000), []
    def work():
        _double(x, out)
        seen.append(numba.get_num_threads())
    try:
        jit.set_threads(1)
        work()
        other = threading.Thread(target=work)
        other.start()
        other.join()
    finally:
        jit.set_threads(before)
    assert seen == [1, 1] and (out == 2).all()


def test_too_many_threads_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match="set NUMBA_NUM_THREADS before the start"):
        jit.set_threads(10_000)


@pytest.mark.parametrize("text", ["many", "0", "-1"])
def test_a_wrong_number_of_threads_in_the_environment_is_named(project, text):
    done = subprocess.run([sys.executable, "-c", "from minigrad import jit; jit.threads()"],
                          cwd=project, env=os.environ | {"MINIGRAD_THREADS": text}, text=True,
                          capture_output=True)
    assert done.stderr.splitlines()[-1].startswith("minigrad.jit.ThreadsError: ")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_fork_after_kernels_have_run_gets_a_sentence_and_not_a_dead_process(project):
    code = """
import os, numpy as np
from minigrad import jit
@jit.kernel(parallel=True)
def double(x, out):
    for i in jit.prange(x.size):
        out[i] = 2 * x[i]
x, out = np.ones(100), np.empty(100)
double(x, out)
pid = os.fork()
if not pid:
    try:
        double(x, out)
        os._exit(0 if jit.threading_layer() != "omp" else 1)
    except RuntimeError as error:
        os._exit(0 if "spawn" in str(error) else 2)
assert os.waitpid(pid, 0)[1] == 0
"""
    (project / "forks.py").write_text(code)
    run(project, "import forks")


# ---- without a compiler, on another machine ----

def test_everything_runs_without_the_compiler(project):
    printed, folders, said = run(project, NUMBA_DISABLE_JIT="1")
    assert printed == ["12.0"] and not folders and said == ""


@pytest.mark.parametrize("features, width", [
    ("+avx512f,+avx2", "64"), ("+avx2,+fma,-avx512f", "32"), ("+sse4.2,-avx2", "16")])
def test_vectors_are_as_wide_as_the_machines_registers(project, features, width):
    printed, _, _ = run(project, "from minigrad import jit; print(jit.vector_bytes())",
                        NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES=features)
    assert printed == [width]
