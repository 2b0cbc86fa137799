"""From HTML to what a reader sees: the text of its blocks, without menus, forms and programs."""
import re
from html.parser import HTMLParser

HIDDEN = {"script", "style", "noscript", "template", "svg", "nav", "header", "footer", "aside",
          "form", "select", "button", "iframe", "head", "figure", "dialog"}
BLOCKS = {"p", "div", "li", "ul", "ol", "h1", "h2", "h3", "h4", "h5", "h6", "br", "tr", "table",
          "section", "article", "blockquote", "pre", "dd", "dt", "hr", "main", "td", "th"}


class Reader(HTMLParser):
    """Collect the text of a page; a block is a line of its own."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.parts, self.hidden = [], []              # hidden: what must end before text is seen

    def handle_starttag(self, tag, attrs):
        if tag in HIDDEN:
            self.hidden.append(tag)
        elif tag in BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag):
        if tag in self.hidden:
            while self.hidden.pop() != tag:
                pass
        elif tag in BLOCKS:
            self.parts.append("\n")
        elif tag in ("body", "html"):                 # what was never closed
            self.hidden.clear()

    def handle_data(self, data):
        if not self.hidden:
            self.parts.append(data)


def strip_html(page):
    """Return the text of a page of HTML.

    >>> strip_html("<nav>Home</nav><p>One <b>bold</b>\\n word.</p><script>x()</script>")
    'One bold word.'
    """
    reader = Reader()
    reader.feed(page)
    reader.close()
    lines = [re.sub(r"\s+", " ", line).strip() for line in blocks_apart(reader.parts)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def blocks_apart(parts):
    """Join the parts; a line break in the source is a space, one between blocks is one."""
    text = "".join("\n" if part == "\n" else part.replace("\n", " ") for part in parts)
    return text.split("\n")
