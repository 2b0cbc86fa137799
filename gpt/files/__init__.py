"""Files of others: arrays and dicts in and out; nothing of ours is known here."""
