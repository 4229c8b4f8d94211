"""Whether `--debug` was given: tracebacks, and what children printed, on standard error."""

import sys

wanted = False


def details(text: str) -> None:
    """Print what only a developer wants to see."""
    if wanted:
        print(text, file=sys.stderr)
