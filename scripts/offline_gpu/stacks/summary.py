"""Where a process spent its time: `summary.py stacks-PID.json [MARK ...]`.

Each stack counts for the first mark that it contains, else for its innermost function of offmodel; the largest first.
"""

import json
import sys
from collections import Counter
from pathlib import Path

if __name__ == "__main__":
    stacks, marks = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["stacks"], sys.argv[2:]
    seconds: Counter[str] = Counter()
    for stack, spent in stacks:
        own = stack.split("|")[:-1] or [stack]
        seconds[next((m for m in marks if m in stack), own[-1])] += spent
    print(f"{sum(seconds.values()):7.1f} s in all")
    for name, spent in seconds.most_common(25):
        print(f"{spent:7.1f} {name}")
