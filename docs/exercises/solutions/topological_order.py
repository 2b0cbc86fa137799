"""The order of a backward pass, written from nothing.

parents maps each node to the list of those it was computed from. List the output and all that
it depends on, each once, and each before its parents: a gradient is complete when it is passed on.
"""


def order(output, parents):
    nodes, seen = [], set()

    def visit(node):
        if node not in seen:
            seen.add(node)
            for parent in parents[node]:
                visit(parent)
            nodes.append(node)                          # after all that it depends on
    visit(output)
    return nodes[::-1]
