"""From HTML to what a reader sees: the text of its blocks, without menus, forms and programs."""
import re
from html.parser import HTMLParser

BREAK = "\0"                       # between blocks: a line break of the source is a space
WHITE, AROUND = re.compile(r"\s+"), re.compile(r" *\n *")
LINES = re.compile(r"\n{3,}")
HIDDEN = set("script style noscript template svg nav header footer aside form select button iframe "
             "head figure dialog".split())
BLOCKS = set("p div li ul ol h1 h2 h3 h4 h5 h6 br tr table section article blockquote pre dd dt hr "
             "main td th".split())


class Reader(HTMLParser):
    """Collect the text of a page; a block is a line of its own."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.parts, self.hidden = [], []              # hidden: what must end before text is seen

    def handle_starttag(self, tag, attrs):
        if tag in HIDDEN:
            self.hidden.append(tag)
        elif tag in BLOCKS:
            self.parts.append(BREAK)

    def handle_endtag(self, tag):
        if tag in self.hidden:
            while self.hidden.pop() != tag:
                continue
        elif tag in BLOCKS:
            self.parts.append(BREAK)
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
    parts = [WHITE.sub(" ", part) for part in reader.parts]
    text = AROUND.sub("\n", "".join(parts).replace(BREAK, "\n"))
    return LINES.sub("\n\n", text).strip()
