"""What a child process does: prepare an artifact, time it, measure its accuracy."""
