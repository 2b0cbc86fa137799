"""From documents to batches; nothing here knows a net."""
