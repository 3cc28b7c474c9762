"""The suites, in the order in which they run and are printed.

A suite is a module with

    NAME                      what `make bench ONLY=` takes, and the key of its results
    TITLE                     its heading in docs/benchmarks.md
    IS_LONG                   left to `make bench-all`
    run(bench) -> dict        measures; what it returns is written as JSON, units in the names
    table(result) -> str      Markdown
    reaches(result) -> list   of bench.reach.Reach: each bound that the project sets itself, met or not
"""
