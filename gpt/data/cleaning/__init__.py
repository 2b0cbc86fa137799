"""From what is found, dumps, crawls and files, to text that is worth learning from."""
