"""Write what the store holds by now, and no earlier call sent, as files of rows: `rows.py STORE OUT SENT`.

OUT gets files that `offmodel store merge` takes, in a folder of their own for each call; SENT lists what was sent.
"""

import sys
from pathlib import Path

from offmodel.store.artifacts import Store
from offmodel.store.transfer import export

if __name__ == "__main__":
    store, out, sent = (Path(word) for word in sys.argv[1:4])
    before = set(sent.read_text().split()) if sent.exists() else set()
    fresh = [a for a in Store(store, create=False).all() if a.label not in before]
    if fresh:
        export(Store(store), out, artifacts=fresh, rows_only=True)
        sent.write_text("\n".join(sorted(before | {a.label for a in fresh})))
