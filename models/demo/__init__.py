"""The demonstration model behind `builtin:chat`: its data, its training and its export. See README.md."""
