"""What the commands for objects of every kind have in common."""
