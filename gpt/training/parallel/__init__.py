"""One run on several processes, on one machine or several: what they say to each other, and how
they share the work of a step."""
