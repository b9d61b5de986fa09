"""One training over several GPUs or processes: FSDP2 through torchrun, for models that one device does not hold.

`launch` starts the processes, `process` is what each of them runs. This package refuses to know what the examples
teach. Invariant: the number of processes changes rounding, and nothing else.
"""
