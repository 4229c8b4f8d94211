"""Whether the models of a list work: exported, checked, compiled and run once on each target."""
