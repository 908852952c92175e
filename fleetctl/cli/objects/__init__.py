"""Code that the commands for objects of every kind share."""
