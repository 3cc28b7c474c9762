"""Pure decisions: which target answers a call."""
