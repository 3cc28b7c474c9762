"""What keeps the running configuration what the file and the store say. Read reload.py first."""
