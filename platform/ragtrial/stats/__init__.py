"""Statistics of offline and live experiments: arrays in, named tuples out, the paper in the docstring.

Nothing here knows a metric, an arm or a database. Where a statistic has no value for the data, it raises
`NotEnoughDataError` with the reason. scipy and statsmodels do the work wherever they have it; what is written here
(the fast sign-flip and bootstrap, McNemar's mid-p, the delta method, sequences) says why,
and is compared with an independent implementation in `tests/oracles`.
"""
