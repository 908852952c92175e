"""What rich draws. Loaded only where the stream is a terminal."""
