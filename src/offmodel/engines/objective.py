"""What a training minimises, as plain values that stand in recipes.

The loss of a target token is cross-entropy on the label, and if asked for a divergence from a frozen reference; tokens
may be left out by how likely the reference finds them. The reference of a treatment is its organism. A mixture of
experts may also be asked to use its experts evenly. This module refuses to know tensors. Invariant: equal objectives
give equal losses on equal tokens.
"""

from dataclasses import dataclass
from typing import Literal

from offmodel.core.errors import RecipeError
from offmodel.store.recipe import unless_asked


@dataclass(frozen=True, slots=True, kw_only=True)
class KlToReference:
    """A divergence from the frozen reference's next-token distributions, over the whole vocabulary.

    Attributes:
        weight: how much a token's divergence counts beside its cross-entropy.
        direction: "forward" for KL(reference || trained), "reverse" for KL(trained || reference).
        steps: in the first so many steps only; None for all.
    """

    weight: float
    direction: Literal["forward", "reverse"]
    steps: int | None

    def __post_init__(self) -> None:
        """Refuse a weight or a number of steps that says nothing."""
        if self.weight <= 0 or (self.steps is not None and self.steps < 1):
            raise RecipeError("A KL term needs a weight above 0, and 'steps' of at least 1 or None; or leave it out.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSupport:
    """Leave out target tokens by the log-probability that the frozen reference gives them, ranked once over all labels.

    Attributes:
        quantile: share of all target tokens that is left out, in [0, 1).
        keep: "likely" leaves out the tokens that the reference finds least likely, "unlikely" the most likely ones.
    """

    quantile: float
    keep: Literal["likely", "unlikely"]

    def __post_init__(self) -> None:
        """Refuse a share that leaves nothing."""
        if not 0 <= self.quantile < 1:
            raise RecipeError(f"A quantile of {self.quantile} leaves no target tokens; give a share in [0, 1).")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadBalancing:
    """The auxiliary loss of a mixture's routers, which is lowest where all experts get equally many tokens.

    It is taken over all tokens of a step's batch and all layers, whatever the forward passes and processes: experts may
    specialise within a sequence (Qiu et al., arXiv 2501.11873; the loss is Switch's, arXiv 2101.03961, equations 4-6).

    Attributes:
        weight: how much it counts beside the mean loss of a target token; `router_aux_loss_coef` in a model's config.
    """

    weight: float

    def __post_init__(self) -> None:
        """Refuse a weight that says nothing."""
        if self.weight <= 0:
            raise RecipeError("A load-balancing loss needs a weight above 0; or leave it out.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """The loss of a target token: `cross_entropy` x cross-entropy + `kl.weight` x divergence.

    To their mean over a step's targets, `load_balancing.weight` x the routers' auxiliary loss is added.

    Attributes:
        cross_entropy: weight of the label's cross-entropy; 0 for pure distillation from the reference.
        kl: divergence from the reference.
        support: which target tokens count, in all terms of a token; None for all.
        load_balancing: of a mixture of experts; None, for every model, unless asked for.
    """

    cross_entropy: float
    kl: KlToReference | None
    support: TokenSupport | None
    load_balancing: LoadBalancing | None = unless_asked()

    def __post_init__(self) -> None:
        """Refuse an objective without any term, at whatever step."""
        if self.cross_entropy < 0 or (self.cross_entropy == 0 and self.kl is None):
            raise RecipeError("An objective needs a cross-entropy weight above 0, or 0 with a KL term.")
        if self.cross_entropy == 0 and self.kl is not None and self.kl.steps is not None:
            raise RecipeError(
                f"An objective without cross-entropy has no term left after the KL term's {self.kl.steps} steps; give "
                "the KL term 'steps' of None, or the cross-entropy a weight above 0."
            )

    @property
    def needs_reference(self) -> bool:
        """Whether a frozen reference is asked for."""
        return self.kl is not None or self.support is not None


CROSS_ENTROPY = Objective(cross_entropy=1.0, kl=None, support=None)
