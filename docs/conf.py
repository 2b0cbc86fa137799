"""Settings of the site: `python -m sphinx -W docs site` (extra `docs`)."""
import re
import sys
from pathlib import Path

from docutils.nodes import SkipNode
from latex2mathml.converter import convert

sys.path.insert(0, str(Path(__file__).parent))
from make_op_pages import listed, write_pages  # noqa: E402
from op_examples import example, traced  # noqa: E402

project = "minigrad"
extensions = ["myst_parser"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3            # links to a heading, as page.md#its-words
root_doc = "README"
html_theme = "furo"                 # search, light and dark
html_math_renderer = "mathml"
html_static_path = html_css_files = ["site.css"]
html_title = "minigrad"
html_show_copyright = False

CHAPTERS = re.findall(r"learn/\w+/\w+(?=\.md\))",
                      (Path(__file__).parent / "README.md").read_text(encoding="utf-8"))

def chapters(part):
    """List the chapters of a part in the order in which the front page names them first."""
    return "\n".join(dict.fromkeys(x for x in CHAPTERS if x.startswith(f"learn/{part}/")))


SECTIONS = {
    "The engine": chapters("engine"), "The GPT": chapters("gpt"), "Other nets": chapters("nets"),
    "From a base": chapters("tuning"), "At scale": chapters("scale"),
    "Exercises and books": "exercises/README\nbooks",
    "Questions": "questions/*",
    "Reference": "stepper\ntesting\nbpe\ntokenizers\ntraining\nmodels\nbase_and_head\n"
                 "parallel\nsweeps\nsharing\ntalking\nserving\nkernels\nbenchmarks\nops/README\n"
                 "adding_an_op\ndeveloping"}
CONTENTS = "".join(f"\n```{{toctree}}\n:hidden:\n:glob:\n:caption: {title}\n\n{pages}\n```\n"
                   for title, pages in SECTIONS.items())
OPERATIONS = "\n```{toctree}\n:hidden:\n:glob:\n*\n```\n"
STEPS = '\n<p><a href="steps/{}.html">Step through this example in the browser</a></p>\n'
EXAMPLES = {f"ops/{op.name}": op for op in listed() if example(op)}


def add_contents(app, docname, source):
    """Give the site its tree; the Markdown stays free of it, so that it reads well by itself."""
    if docname == "ops/README":                      # the list names the pages that are built
        source[0] = re.sub(r"^- `(\w+)`:", r"- [\1](\1.md):", source[0], flags=re.MULTILINE)
    source[0] += {"README": CONTENTS, "ops/README": OPERATIONS}.get(docname, "")
    if docname in EXAMPLES:
        source[0] += STEPS.format(EXAMPLES[docname].name)


def write_steps(app, error):
    """Write a page of the stepper for each operation's example."""
    if error is None and app.builder.format == "html":
        folder = Path(app.outdir) / "ops" / "steps"
        folder.mkdir(exist_ok=True)
        for op in EXAMPLES.values():
            traced(op)[1].html(folder / f"{op.name}.html")


def formula(display):
    """Write a formula as MathML, which browsers show without a script or a network."""
    def visit(translator, node):
        translator.body.append(convert(node.astext(), display=display))
        raise SkipNode
    return visit, None


def setup(app):
    write_pages()
    app.add_html_math_renderer("mathml", formula("inline"), formula("block"))
    app.connect("source-read", add_contents)
    app.connect("build-finished", write_steps)
