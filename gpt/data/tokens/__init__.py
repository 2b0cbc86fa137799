"""Tokenizers of every kind, behind one interface."""
