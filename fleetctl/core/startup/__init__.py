"""What a program checks before it imports anything else: its arguments and its Python."""
