"""What the program tells its operators."""
