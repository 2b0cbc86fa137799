"""How do you know it works? Questions about a trained net, each answered by a line of a report."""
