"""The nightly gate: alarms on real regressions, silent otherwise.

matrix    what is measured, from TOML
series    which results may be compared with each other
baselines which results a baseline is made of
judge     screen against the baseline, confirm by comparing, decide
night     measure each job, judge it, look into its history
changes   change points in a long series
outputs   Markdown for a job's summary, JUnit XML
"""
