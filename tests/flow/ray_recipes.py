"""A recipe that takes a while and says when it began, for machines that die in the middle."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from offmodel.store.recipe import Facts, Job, Recipe

# Long enough to be in the middle of it when the machine is told to die, which takes a second on two busy cores.
_SECONDS = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Slow(Recipe):
    kind: ClassVar[str] = "slow"
    recipe_version: ClassVar[int] = 1
    seed: int
    mark: str

    def name(self) -> str:
        return f"s{self.seed}"

    @classmethod
    def execute(cls, job: Job) -> Facts:
        import ray

        node = ray.get_runtime_context().get_node_id()
        Path(job.params.mark, f"{job.params.seed}-{node}").touch()
        time.sleep(_SECONDS)
        (job.out / "value.json").write_text(str(job.params.seed))
        return {"node": node}
