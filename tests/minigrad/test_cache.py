"""What is kept on disk is what would be compiled, or it is not used."""
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from minigrad.kernels import cache, jit
from minigrad.kernels.jit import kernel

PACKAGE = Path(jit.__file__).parent


@pytest.fixture
def project(tmp_path):
    return make_project(tmp_path)


def make_project(tmp_path):
    """Make a package of the same name with what compiles, a helper, a kernel, a cache of its own.
    """
    package = tmp_path / "minigrad"
    (package / "kernels").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    for name in ("__init__", "jit", "cache", "threads"):
        shutil.copy(PACKAGE / f"{name}.py", package / "kernels")
    (package / "unrelated.py").write_text("A = 1\n")
    (package / "kernels" / "helper.py").write_text(textwrap.dedent("""
        from minigrad.kernels import jit
        SCALE = 3.0
        @jit.helper(inline=True)
        def scaled(x):
            return SCALE * x
        """))
    (package / "total.py").write_text(textwrap.dedent("""
        import sys
        import numpy as np
        from minigrad.kernels import jit
        from minigrad.kernels.helper import scaled
        @jit.kernel
        def total(x):
            s = x.dtype.type(0)
            for i in range(x.size):
                s += scaled(x[i])
            return s
        print(total(np.ones(4)))
        """))
    return tmp_path


def run(project, code="import minigrad.total", **environment):
    """Run code in the project; return what it printed and the names of its cache directories."""
    environment = {"MINIGRAD_CACHE_DIR": str(project / "cache"), "PYTHONPATH": str(project),
                   **environment}
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], text=True, cwd=project,
                          env=os.environ | environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split(), folders_of(project), done.stderr


def folders_of(project):
    """The names of its cache directories, but for that of Numba's runtime."""
    names = {path.name for path in (project / "cache").glob("*")}
    return {name for name in names if not name.startswith("cache-")}


def edit(project, name, old, new):
    path = project / "minigrad" / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


ASK = "from minigrad.kernels import cache; print(cache.compiled_before('minigrad/total.py'));"


def test_later_processes_compile_nothing_even_if_other_files_changed_and_know_it(project):
    first, folders, said = run(project, ASK + "import minigrad.total")
    assert "compiling kernels (once per installation)" in said and first[0] == "False"
    edit(project, "unrelated.py", "1", "2")
    assert run(project, ASK + "import minigrad.total") == (["True", *first[1:]], folders, "")
    assert {name.split("-")[0] for name in folders} == {"total"}             # none for the helper


@pytest.fixture(scope="module")
def compiled_project(tmp_path_factory):
    """A project whose kernel is in its cache."""
    project = make_project(tmp_path_factory.mktemp("compiled"))
    run(project)
    return project


@pytest.fixture(scope="module")
def compiled(compiled_project):
    """The names of the directories that the project makes before anything is changed."""
    return folders_of(compiled_project)


@pytest.mark.skipif(not jit.COMPILED, reason="nothing is compiled")
def test_checkouts_of_one_content_share_what_is_compiled(project, compiled_project):
    found = run(project, MINIGRAD_CACHE_DIR=str(compiled_project / "cache"))
    assert found == (["12.0"], set(), "")


CALLER = """
import numpy as np
from minigrad.kernels import jit
from minigrad.total import total
@jit.kernel
def twice(x):
    return 2 * total(x)
print(twice(np.ones(4)))
"""


@pytest.mark.skipif(not jit.COMPILED, reason="nothing is compiled")
def test_what_is_from_the_cache_can_be_called_by_what_is_compiled(project, compiled_project):
    found = run(project, CALLER, MINIGRAD_CACHE_DIR=str(compiled_project / "cache"))
    assert found[0] == ["12.0", "24.0"]


@pytest.mark.parametrize("name, old, new, value", [
    ("kernels/helper.py", "SCALE * x", "SCALE * x + 1", "16.0"),
    ("kernels/helper.py", "3.0", "5.0", "20.0"),
    ("kernels/jit.py", '"contract", "arcp"', '"contract"', "12.0"),
    ("total.py", "s += scaled(x[i])", "s += 2 * scaled(x[i])", "24.0"),
])
def test_a_change_anywhere_gives_a_new_directory_and_the_new_answer(project, compiled, name, old,
                                                                    new, value):
    edit(project, name, old, new)
    printed, folders, _ = run(project)
    assert printed == [value] and not folders & compiled


def test_the_processor_and_numbas_options_are_part_of_the_directory(project, compiled):
    code = "from minigrad.kernels import cache; cache.cache_directory('minigrad/total.py')"
    assert run(project, code)[1] == compiled
    assert len(run(project, code, NUMBA_OPT="1")[1]) == 2
    assert len(run(project, code, NUMBA_CPU_NAME="generic")[1]) == 3


@pytest.mark.skipif(not jit.COMPILED, reason="nothing is compiled")
@pytest.mark.parametrize("ending", [".nbi", ".nbc"])
@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:len(data) // 2],
                                    lambda data: data[:-60] + bytes([data[-60] ^ 1]) + data[-59:]],
                         ids=["emptied", "cut", "a bit"])
def test_a_damaged_entry_is_compiled_again(project, compiled_project, ending, damage):
    shutil.copytree(compiled_project / "cache", project / "cache")
    for path in (project / "cache").rglob(f"*{ending}"):       # of the kernel, and of the runtime
        path.write_bytes(damage(path.read_bytes()))
    printed, _, said = run(project)
    assert printed == ["12.0"]
    assert run(project)[2] == ""                      # and is whole again


def test_kernels_typed_at_a_prompt_work_without_a_cache():
    names = {"kernel": kernel}
    exec("@kernel\ndef plus_one(x): return x + 1", names)
    assert names["plus_one"](2) == 3


def test_numbas_own_cache_setting_is_left_alone(project):
    code = ("import numba; before = numba.config.CACHE_DIR; import minigrad.total;"
            "assert numba.config.CACHE_DIR == before == 'elsewhere'")
    run(project, code, NUMBA_CACHE_DIR="elsewhere")
    assert not (project / "elsewhere").exists()


def test_a_place_that_cannot_be_written_only_costs_the_cache(project):
    blocked = project / "file"
    blocked.write_text("in the way")
    printed, _, said = run(project, MINIGRAD_CACHE_DIR=str(blocked))
    assert printed == ["12.0"] and blocked.read_text() == "in the way"
    assert said == "" if not jit.COMPILED else said.count("\n") == 1 and (
        f"at every start, as {blocked} cannot be written" in said)


@pytest.mark.skipif(not jit.COMPILED, reason="nothing is compiled")
def test_a_full_disk_only_costs_the_cache(project):
    full = ("from numba.core.caching import IndexDataCacheFile as F\n"
            "def save(*args): raise OSError(28, 'No space left on device')\n"
            "F.save = save\nimport minigrad.total")
    assert run(project, full)[0] == ["12.0"]


def test_directories_of_older_versions_are_removed_but_not_those_in_use(tmp_path, monkeypatch):
    source = tmp_path / "some_kernels.py"
    monkeypatch.setenv("MINIGRAD_CACHE_DIR", str(tmp_path / "cache"))
    old, recent, other = (tmp_path / "cache" / name for name in
                          ("some_kernels-0", "some_kernels-recent", "some_kernels_more-1"))
    olds = [old.with_name(f"some_kernels-{i}") for i in range(cache.KEPT + 2)]
    for age, folder in enumerate([recent, other, *olds]):
        folder.mkdir(parents=True)
        seconds = 0 if folder is recent else 1_000_000 + age
        os.utime(folder, (os.stat(folder).st_atime, os.stat(folder).st_mtime - seconds))
    source.write_text("x = 1\n")
    newest = cache.cache_directory(str(source))
    assert newest.exists() and recent.exists() and other.exists()
    kept = [folder for folder in olds if folder.exists()]
    assert kept == olds[:cache.KEPT - 2]


@pytest.mark.skipif(not jit.COMPILED, reason="nothing is compiled")
def test_the_code_of_a_snippet_is_not_kept(tmp_path):
    path, names = tmp_path / "page.md", {"__name__": "__test__"}
    path.write_text("def f(x, out):\n    out[0] = x[0]\n", encoding="utf-8")
    exec(compile(path.read_text(encoding="utf-8"), path, "exec"), names)
    out = np.zeros(1)
    kernel(names["f"])(np.ones(1), out)
    assert out[0] == 1 and not cache.compiled_before(path)


ATTEND = """
import hashlib
import numpy as np
from minigrad import self_attention
x = np.random.default_rng(0).standard_normal((4, 16, 48)).astype(np.float32)
print(hashlib.sha256(self_attention(x, n_head=2)).hexdigest())
"""


@pytest.mark.skipif(not jit.COMPILED, reason="nothing is compiled")
def test_what_was_just_compiled_and_what_is_from_the_cache_give_the_same_bits(tmp_path):
    found = [subprocess.run([sys.executable, "-c", ATTEND], text=True, capture_output=True,
                            check=True, cwd=PACKAGE.parent.parent, env=os.environ | {
                                "MINIGRAD_CACHE_DIR": str(tmp_path)}).stdout for _ in range(2)]
    assert found[0] == found[1] != ""


# ---- without a compiler, on another machine ----

def test_everything_runs_without_the_compiler(project):
    printed, folders, said = run(project, NUMBA_DISABLE_JIT="1")
    assert printed == ["12.0"] and not folders and said == ""


@pytest.mark.parametrize("features, width", [
    ("+avx512f,+avx2", "64"), ("+avx2,+fma,-avx512f", "32"), ("+sse4.2,-avx2", "16")])
def test_vectors_are_as_wide_as_the_machines_registers(project, features, width):
    printed, _, _ = run(project, "from minigrad.kernels import cache; print(cache.vector_bytes())",
                        NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES=features)
    assert printed == [width]
