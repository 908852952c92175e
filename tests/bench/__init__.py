"""Benchmarks with a peer in the same run: `make bench`, `make bench ONLY=substring`."""
