"""What the stepper (`minigrad.trace`, `minigrad.draw`) is made of: each file reads one record."""
