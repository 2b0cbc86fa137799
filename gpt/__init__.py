"""A GPT, and everything around its training. The loop itself is train.py, one folder up."""
