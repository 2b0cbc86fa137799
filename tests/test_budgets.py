"""The core stays small enough to be read in an hour, and no file grows out of hand."""
import ast
import io
import tokenize
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ["minigrad/tensor.py", "minigrad/ops/elementwise.py", "minigrad/ops/shape.py",
        "minigrad/ops/reduce.py", "minigrad/ops/linear.py", "minigrad/nn.py"]
FILES = sorted(path.relative_to(ROOT).as_posix() for package in ("minigrad", "bpe", "gpt")
               for path in (ROOT / package).rglob("*.py")) + ["train.py"]
FILES = [name for name in FILES if (ROOT / name).exists()]
LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
          tokenize.ENDMARKER}


def read(name):
    """Return the part of a file that a learner reads: what stands above its fast path."""
    return (ROOT / name).read_text(encoding="utf-8").split("\n# ---- fast path")[0] + "\n"


def docstring_lines(tree):
    """Collect the lines of strings that stand alone as statements."""
    return {line for node in ast.walk(tree) if isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
            for line in range(node.lineno, node.end_lineno + 1)}


def code_tokens(text):
    """Yield (line, token) for code: no comments, no docstrings, no layout; strings are one."""
    skipped, inside = docstring_lines(ast.parse(text)), 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        name = tokenize.tok_name[token.type]
        inside -= name == "FSTRING_END"                # Python 3.12 looks into f-strings
        counted = not inside and token.type not in LAYOUT and name != "FSTRING_END"
        if counted and token.start[0] not in skipped:
            yield token.start[0], token.string
        inside += name == "FSTRING_START"


def measure(text):
    """Return how many lines hold code, and how many tokens they hold."""
    lines = [line for line, _ in code_tokens(text)]
    return len(set(lines)), len(lines)


def density(text):
    """Return the tokens a line on average, and the share of lines over 20 tokens in percent."""
    counts = Counter(line for line, _ in code_tokens(text)).values()
    n = max(len(counts), 1)
    return sum(counts) / n, 100 * sum(count > 20 for count in counts) / n


def comments(text):
    """Return how many comments there are for 100 lines of code, shapes at their ends included."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return 100 * sum(token.type == tokenize.COMMENT for token in tokens) / measure(text)[0]


def test_comments_docstrings_and_the_fast_path_are_not_counted():
    text = '"""Title.\n\nMore.\n"""\nimport os  # why\n\n\ndef f(x):\n    """Do."""\n    return x\n'
    assert measure(text) == (3, 2 + 6 + 2)
    assert density(text) == (10 / 3, 0)
    assert density("x = " + 10 * "1 + " + "1\ny = 2\n") == ((23 + 3) / 2, 50)
    assert comments(text) == 100 / 3
    assert density("x = f'{a + f(b):.2f} {c}'\n") == (3, 0)


def test_the_core_is_read_in_an_hour():
    counts = {name: measure(read(name)) for name in CORE}
    lines, tokens = map(sum, zip(*counts.values()))
    assert lines <= 600, counts
    assert tokens / lines <= 12, counts


@pytest.mark.parametrize("name", CORE)
def test_no_function_of_the_core_is_longer_than_a_screen(name):
    text = read(name)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert measure(ast.unparse(node))[0] <= 60, node.name


# Names and settings of others have no shapes.
TABLES = {"gpt/models/families.py", "gpt/models/published.py", "gpt/models/publishing.py",
          "gpt/models/__init__.py"}
MODELS = [name for name in FILES if name.startswith("gpt/models/") and name not in TABLES]


@pytest.mark.parametrize("name", CORE + MODELS)
def test_the_core_and_the_models_say_why_and_of_which_shape(name):
    assert comments(read(name)) >= 8


@pytest.mark.parametrize("name", FILES)
def test_a_line_holds_one_idea(name):
    tokens, long_lines = density((ROOT / name).read_text(encoding="utf-8"))
    assert tokens <= 12
    assert long_lines <= 8


@pytest.mark.parametrize("name", FILES)
def test_no_file_is_much_longer_than_400_lines(name):
    exempt = 520 if name == "minigrad/tensor.py" else 450       # the engine carries long docstrings
    assert len((ROOT / name).read_text(encoding="utf-8").splitlines()) <= exempt
