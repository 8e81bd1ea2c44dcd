"""The programs that are measured, each run in a fresh process: `python -m benchmarks.contenders.NAME …`.

Each prints one JSON line at its end (`benchmarks.contenders.told`). Those of peers import nothing of bulkup's, so that they
run by another Python as well.
"""
