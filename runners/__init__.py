"""Runtimes: each file is one runner, found by entry point (`bench.contracts.Runner`)."""
