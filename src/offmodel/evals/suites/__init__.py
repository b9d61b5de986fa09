"""Published capability benchmarks: where their rows come from, how they are asked and how answers are marked.

What belongs here: one converter a benchmark, from the hub's rows to items, and graders that only benchmarks need.
"""
