"""Estimates of what a study costs on machines that are not there: GPU-hours, time, memory, disk, money.

Measured points and the factors fitted to them lie in `calibration.json`, each with its source. This package refuses to
measure. Invariant: an estimate names what in it was assumed, not measured.
"""
