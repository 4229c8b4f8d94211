"""The kernel: records, contracts, pipeline, stopwatch, statistics, store and command line.

Model sources (`exporters`), runtimes (`runners`) and outputs (`reports`) are plug-ins: they import
`bench`; `bench` finds them by entry point and never imports them.
"""

__version__ = "0.1.0"
