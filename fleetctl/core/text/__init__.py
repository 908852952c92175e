"""Small rules about text: durations, lists of names, suggestions for typing errors."""
