"""What the user wrote (schema), where it came from (load), and what runs (compile -> Snapshot)."""
