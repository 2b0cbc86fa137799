"""What must run fast and nobody needs to read to understand backprop: compiled loops."""
