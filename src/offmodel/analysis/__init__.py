"""RECORDS -> NUMBERS: what the measurements say, and how surely.

Takes plain values (item scores by point and pair) and gives areas, rates, intervals, figures, tables and a report. It
refuses to know how anything was computed: no store, no model, neither torch nor transformers, so that a report is
rebuilt on a laptop from records alone.
"""
