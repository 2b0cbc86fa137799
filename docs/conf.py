"""Settings of the site: `python -m sphinx -W docs site` (extra `docs`)."""
project = "minigrad"
extensions = ["myst_parser"]
myst_enable_extensions = ["dollarmath"]
root_doc = "README"
html_theme = "furo"                 # search, light and dark
html_title = "minigrad"

CONTENTS = """
```{toctree}
:hidden:
:glob:
learn/*
*
questions/*
exercises/README
ops/README
```
"""
OPERATIONS = "\n```{toctree}\n:hidden:\n:glob:\n*\n```\n"


def add_contents(app, docname, source):
    """Give the site its tree; the Markdown stays free of it, so that it reads well by itself."""
    source[0] += {"README": CONTENTS, "ops/README": OPERATIONS}.get(docname, "")


def setup(app):
    app.connect("source-read", add_contents)
