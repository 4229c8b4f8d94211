"""The nightly gate: alarms on real regressions, silent otherwise.

matrix    what is measured, from TOML
series    which results may be compared with each other
night     measure, screen against the baseline, confirm by comparing, decide
changes   change points in a long series
outputs   Markdown for a job's summary, JUnit XML
"""
