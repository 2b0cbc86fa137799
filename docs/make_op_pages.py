"""Write docs/ops/: a page for every operation, made from its declaration.

    python docs/make_op_pages.py

A test compares the pages with what this would write. Those of the rarely used operations go to
docs/ops/rare/ when the site is built (conf.py calls `write_rare`) and are not kept.
"""
import inspect
import sys
from pathlib import Path

from minigrad import OPS

sys.path.insert(0, str(Path(__file__).parent))
from op_examples import traced  # noqa: E402

HERE = Path(__file__).parent
RARE = "minigrad.ops.rare"
SECTIONS = {"Parameters", "Returns", "Raises", "Notes", "References"}


def page(op):
    """Return one operation's page as Markdown."""
    summary, sections = read_docstring(op.forward)
    file = op.forward.__module__.replace(".", "/") + ".py"
    up = "../../" if is_rare(op) else "../"           # to docs/
    lines = [f"# {op.name}", "", summary, ""]
    if op.signature:
        lines += [f"Signature: `{op.signature}`. Axes before the named ones broadcast.", ""]
    domain = [f"`{name}`: {value}" for name, value in op.domain.items() if isinstance(value, str)]
    if domain:
        lines += ["Domain: " + ", ".join(domain) + ".", ""]
    for title, text in sections:
        lines += [f"**{title}**", "", "```text", text, "```", ""]
    lines += ["## Forward and backward", "", *code(op.forward), *code(op.bodies["reference"][1])]
    if op.composition:
        lines += ["## The same in smaller steps", "", "`with use(\"parts\"):` runs this.", "",
                  *code(op.composition)]
    lines += steps(op, up)
    lines += [f"[{file}]({up}../{file}) holds it"
              + (", with its kernel below the line `# ---- fast path`." if "fast" in op.bodies
                 else "; it needs no kernel."),
              f"`minigrad.testing.check_op(minigrad.{op.name})` holds it to "
              f"[the laws]({up}testing.md)."]
    return "\n".join(lines) + "\n"


def is_rare(op):
    return op.forward.__module__ == RARE


def steps(op, up):
    """Return the section that steps through a tiny example."""
    program, t = traced(op)
    if not program:
        return []
    return ["## Step by step", "", f"`python -m minigrad.stepper {op.name}.py:f` walks through "
            f"this program ([the stepper]({up}stepper.md)); `--html {op.name}.html` makes a page "
            "of it.", "", "```py", program.rstrip(), "```", "",
            "```text", t.text().rstrip(), "```", ""]


def read_docstring(function):
    """Split a numpydoc docstring into its prose and its sections."""
    blocks, sections = inspect.getdoc(function).split("\n"), []
    prose, into = [], None
    for i, line in enumerate(blocks):
        if i + 1 < len(blocks) and set(blocks[i + 1]) == {"-"} and line in SECTIONS:
            into = []
            sections.append((line, into))
        elif into is None:
            prose.append(line)
        elif set(line) != {"-"} or not line:
            into.append(line)
    return math("\n".join(prose).strip()), [(t, "\n".join(x).strip()) for t, x in sections]


def math(text):
    """Turn `.. math::` blocks into Markdown's."""
    out, inside = [], False
    for line in text.split("\n"):
        if line.strip().startswith(".. math::"):
            inside = True
            out += ["$$", line.strip().removeprefix(".. math::").strip()]
        elif inside and not line.strip():
            inside = False
            out += ["$$", ""]
        else:
            out.append(line.strip() if inside else line)
    return "\n".join(out + ["$$"] * inside)


def code(function):
    """Return a function's source without its decorators and its docstring."""
    source = inspect.getsource(function)
    source = source[source.index("def "):]
    if function.__doc__:
        start = source.index('"""')
        start = start - 1 if source[start - 1] == "r" else start
        end = source.index('"""', source.index('"""') + 3) + 3
        source = source[:start].rstrip() + "\n" + source[end:].lstrip("\n")
    return ["```py", source.strip("\n"), "```", ""]


def index(ops):
    """Return the list of all operations, by file."""
    lines = ["# Operations", "", "One page for each, made from its declaration.", ""]
    files = sorted({op.forward.__module__ for op in ops})
    for module in files:
        names = sorted(op.name for op in ops if op.forward.__module__ == module)
        shown = (", ".join(names) + " (pages on the site only)" if module == RARE else
                 ", ".join(f"[{name}]({name}.md)" for name in names))
        lines += [f"- `{module.replace('.', '/')}.py`: {shown}"]
    return "\n".join(lines) + "\n"


def pages():
    """Return {file name: text} for all pages that are kept."""
    ops = [op for op in OPS.values() if str(op.forward.__module__).startswith("minigrad.ops.")]
    return {"README.md": index(ops), **{f"{op.name}.md": page(op) for op in ops if not is_rare(op)}}


def write_rare():
    """Write the pages of the rarely used operations, those that have changed."""
    folder = HERE / "ops" / "rare"
    folder.mkdir(exist_ok=True)
    texts = {folder / f"{op.name}.md": page(op) for op in OPS.values() if is_rare(op)}
    for path in folder.glob("*.md"):
        if path not in texts:
            path.unlink()
    for path, text in texts.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def main():
    folder = HERE / "ops"
    folder.mkdir(exist_ok=True)
    texts = pages()
    for path in folder.glob("*.md"):
        if path.name not in texts:
            path.unlink()
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
