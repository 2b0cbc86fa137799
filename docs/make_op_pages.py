"""Write docs/ops/: a page for every operation, made from its declaration, and their list.

    python docs/make_op_pages.py

The list, docs/ops/README.md, is kept in the repository; the pages are not, as they change with
every operation: conf.py writes them when the site is built.
"""
import inspect
import sys
from pathlib import Path

from minigrad import OPS

sys.path.insert(0, str(Path(__file__).parent))
from op_examples import traced  # noqa: E402

FOLDER = Path(__file__).parent / "ops"
SECTIONS = {"Parameters", "Returns", "Raises", "Notes", "References"}
TITLE = """# Operations

Each line says what an operation computes and, where one line holds it, its backward pass: dx is the
gradient of the input x, g that of the output y. The linked file holds the formula, the backward
pass and the fast path. The site has a page for each operation, with an example to step through:
`python -m sphinx docs site` builds it (extra `docs`).
"""


def listed():
    """Return the operations that this package declares, in order."""
    return [op for op in OPS.values()
            if (op.forward.__module__ or "").startswith("minigrad.ops.")]


def page(op):
    """Return one operation's page as Markdown."""
    summary, sections = read_docstring(op.forward)
    file = file_of(op)
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
    lines += steps(op)
    lines += [f"[{file}](../../{file}) holds it"
              + (", with its kernel below the line `# ---- fast path`." if "fast" in op.bodies
                 else "; it needs no kernel."),
              f"`minigrad.testing.check_op(minigrad.{op.name})` holds it to "
              "[the laws](../testing.md)."]
    return "\n".join(lines) + "\n"


def file_of(op):
    """Return the path of the source file, from the root."""
    return op.forward.__module__.replace(".", "/") + ".py"


def steps(op):
    """Return the section that steps through a tiny example."""
    program, t = traced(op)
    if not program:
        return []
    return ["## Step by step", "", f"`python -m minigrad.stepper {op.name}.py:f` walks through "
            "this program ([the stepper](../stepper.md)); "
            f"`--html {op.name}.html` makes a page of it.", "",
            "```py", program.rstrip(), "```", "", "```text", t.text().rstrip(), "```", ""]


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
            out.append(line.strip() if inside else plain(line))
    return "\n".join(out + ["$$"] * inside)


def plain(text):
    """Keep Markdown from reading powers as emphasis."""
    return text.replace("**", r"\*\*")


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


def index():
    """Return the list of all operations, by file, a line each."""
    lines, families = [TITLE], {}
    for op in listed():
        families.setdefault(op.forward.__module__, []).append(op)
    for module, ops in families.items():
        file = file_of(ops[0])
        about = inspect.getdoc(sys.modules[module]).split("\n\n")[0]
        lines += [f"## {Path(file).stem}", "", about, f"Source: [{file}](../../{file}).", ""]
        for op in ops:
            summary = inspect.getdoc(op.forward).split("\n")[0]
            lines += [f"- `{op.name}`: {plain(summary)}"]
        lines += [""]
    return "\n".join(lines)


def write_pages(folder=FOLDER):
    """Write the pages of all operations, those that have changed; remove others."""
    texts = {folder / f"{op.name}.md": page(op) for op in listed()}
    for path in {*folder.glob("*.md")} - {*texts, folder / "README.md"}:
        path.unlink()
    for path, text in texts.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    (FOLDER / "README.md").write_text(index(), encoding="utf-8")
    write_pages()
