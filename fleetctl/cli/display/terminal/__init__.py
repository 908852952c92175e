"""Output with rich: tables, progress, live views. Loaded only if the stream is a terminal."""
