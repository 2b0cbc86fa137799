"""What a user sees of a run: it reads runs and changes nothing."""
