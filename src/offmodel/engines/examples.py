"""Labels to training examples, with what was dropped counted.

This module refuses to know who uses the examples and for what. Invariant: an example is whole or absent: truncated,
empty and over-long labels are dropped, never cut, so that every example ends in its end-of-turn token.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from offmodel.core.chat import Label
from offmodel.core.errors import DataError
from offmodel.engines.rendering import Example, Renderer


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """Training examples of a set of labels.

    Attributes:
        examples: the examples that are kept, in the labels' order.
        kept: index into the labels of each kept example.
        truncated: labels dropped because their author was cut off.
        empty: labels dropped because their author said nothing: they would teach to say nothing.
        overlong: labels dropped because they are longer than the limit.
    """

    examples: tuple[Example, ...]
    kept: tuple[int, ...]
    truncated: int
    empty: int
    overlong: int

    def to_facts(self) -> dict[str, int]:
        """Counts for the record."""
        return {
            "labels": len(self.kept),
            "dropped_truncated": self.truncated,
            "dropped_empty": self.empty,
            "dropped_overlong": self.overlong,
        }


def render_labels(renderer: Renderer, labels: Sequence[Label], *, max_tokens: int) -> Rendered:
    """Render labels as training examples.

    Args:
        renderer: the renderer of the model that will be trained.
        labels: prompts with their completions.
        max_tokens: longer examples are dropped.

    Raises:
        DataError: no label is left.
        RenderingError: a label cannot be rendered for training.
    """
    ended = [i for i, label in enumerate(labels) if label.finish == "stop"]
    whole = [i for i in ended if labels[i].text.strip()]
    examples = renderer.examples([(labels[i].prompt.messages, labels[i].text) for i in whole])
    kept = [(i, e) for i, e in zip(whole, examples, strict=True) if len(e.ids) <= max_tokens]
    truncated, empty, overlong = len(labels) - len(ended), len(ended) - len(whole), len(whole) - len(kept)
    if not kept:
        raise DataError(
            f"None of {len(labels)} labels can be trained on: {truncated} were cut off by their author's token limit, "
            f"{empty} are empty, {overlong} are longer than {max_tokens} tokens; raise max_new_tokens or max_tokens."
        )
    return Rendered(
        examples=tuple(e for _, e in kept),
        kept=tuple(i for i, _ in kept),
        truncated=truncated,
        empty=empty,
        overlong=overlong,
    )
