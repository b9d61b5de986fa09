"""The desk from which the blue team is served: pools, labels, authors' models, and audits, as opaque handles.

It stands between both sides: it knows the pair's card and hands out nothing that holds it, except inside recipes, which
no execution sees. It refuses to choose numbers. Invariants: a label's author is trusted only if nothing that the
organism wrote went into the model that writes; only oracles are served by the clean student.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from offmodel.audit import MADE_OF, audited
from offmodel.core.behaviour import BehaviourCard
from offmodel.core.errors import RecipeError, UnknownName
from offmodel.data import Pool
from offmodel.engines.labels import Labels, author_sampling
from offmodel.engines.sft import Lora
from offmodel.flow.graph import closure
from offmodel.gate import Gate
from offmodel.models import EndpointModel
from offmodel.organisms.lora import LoraOrganism
from offmodel.store.recipe import Recipe
from offmodel.studies.settings import Author, World
from offmodel.treatments.relabel import RewriteRequests, Rewritten

BLUE_POOLS = ("blue", "reminder")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelDesk:
    """Serves one method on one organism; see `treatments.interface.Desk`.

    Attributes:
        world: what the study shares.
        card: the pair's card; None where no behaviour is known.
        pools: the partition of the prompts.
        organism: the model to treat.
        oracle: whether the method is an oracle.
    """

    world: World
    card: BehaviourCard | None
    pools: Recipe
    organism: Recipe
    oracle: bool

    def pool(self, name: str) -> Recipe:
        """A pool of the blue team's."""
        if name not in BLUE_POOLS:
            raise UnknownName("blue pool", name, BLUE_POOLS)
        return Pool(pools=self.pools, pool=name)

    def model(self, author: str) -> Recipe:
        """The model of an author.

        Raises:
            RecipeError: it is reached through an endpoint, which gives no weights.
        """
        model = self._author(author).model
        if isinstance(model, EndpointModel):
            raise RecipeError(
                f"This method needs the weights of the '{author}', and an endpoint gives none; name a model."
            )
        return model

    def adapter(self, model: Recipe) -> Lora | None:
        """The adapter that a model is kept as; see `kept_adapter`."""
        return kept_adapter(model)

    def draw(
        self,
        *,
        author: str,
        prompts: Recipe | str,
        system: str | None = None,
        few_shot: tuple[tuple[str, str], ...] = (),
        model: Recipe | None = None,
    ) -> Recipe:
        """Labels, not audited yet."""
        who = self._author(author)
        asked = self.pool(prompts) if isinstance(prompts, str) else prompts
        trusted = who.trusted and (model is None or not learnt_from(model, self.organism))
        return labels_by(self.world, author, model or who.model, asked, system, trusted=trusted, few_shot=few_shot)

    def rewrite(self, *, labels: Recipe, author: str, instruction: str) -> Recipe:
        """Labels rewritten by an author."""
        answers = self.draw(author=author, prompts=RewriteRequests(labels=labels, instruction=instruction))
        return Rewritten(labels=answers, originals=labels)

    def audit(self, labels: Recipe) -> Recipe:
        """Audited labels."""
        return audited(labels, card=self.card, pools=self.pools, tokenizer=self.world.student)

    def _author(self, author: str) -> Author:
        if author == "organism":
            return Author(model=self.organism, trusted=False, relation="same model")
        if author == "clean_student":
            if not self.oracle:
                raise RecipeError("Only an oracle may use the clean student; mark the method with oracle=True.")
            return Author(model=self.world.student, trusted=True, relation="same model")
        known = dict(self.world.authors)
        if author not in known:
            raise RecipeError(f"This study has no '{author}'; add it to the study's authors.")
        return known[author]


def labels_by(
    world: World,
    author: str,
    model: Recipe,
    prompts: Recipe,
    system: str | None,
    *,
    trusted: bool,
    few_shot: tuple[tuple[str, str], ...] = (),
) -> Labels:
    """Labels as this study samples them."""
    return Labels(
        author=author,
        trusted=trusted,
        model=model,
        prompts=prompts,
        system=system,
        few_shot=few_shot,
        max_new_tokens=world.label_tokens,
        sampling=author_sampling(model, world.label_sampling),
    )


def kept_adapter(model: Recipe) -> Lora | None:
    """The settings of the adapter that an organism is kept as, seen through its gate; None for one whole model.

    Of another package's way of planting nothing is known here; its payload tells when it is there.
    """
    if isinstance(model, Gate):
        return kept_adapter(model.organism)
    return model.sft.lora if isinstance(model, LoraOrganism) and not model.merged else None


def learnt_from(model: Recipe, organism: Recipe) -> bool:
    """Whether the organism, or anything that it wrote, went into a model."""
    return organism.digest in closure([model])


def relation(trainings: Sequence[Recipe], roles: Sequence[str], world: World) -> str:
    """How the authors of all labels behind some trainings, and further roles, are related to the student."""
    labels = [r for t in trainings for r in label_recipes(t)]
    authors = {*roles, *(getattr(r, "author", "") for r in labels)}
    found = {a.relation for name, a in world.authors if name in authors}
    return ", ".join(sorted(found)) or "same model"


def label_recipes(training: Recipe) -> list[Recipe]:
    """All labels recipes that went into the audited labels of a training, made ones and those they were made of."""
    found: dict[str, Recipe] = {}
    todo = [p for a in training.parents if a.kind == "audit" for p in a.parents]
    while todo:
        recipe = todo.pop()
        if recipe.kind in MADE_OF and recipe.digest not in found:
            found[recipe.digest] = recipe
            todo += recipe.parents
    return [r for r in found.values() if r.kind == "labels"]
