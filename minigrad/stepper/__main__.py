"""`python -m minigrad.stepper expr.py:f`: step through a backward pass."""
from minigrad.stepper.command import main

main()
