"""Public test doubles: real implementations with no I/O mocked away. Nothing in the program imports them."""
