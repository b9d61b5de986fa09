"""A model folder to a model under training: weights, adapter, optimizer, layout and the frozen reference.

This module refuses to know examples and steps. Weights under training are float32 whatever the compute dtype, since
16-bit weights round small updates away. Invariant: what is returned has been checked on this machine: its loss from
hidden states is the model's own, and its layout keeps sequences apart.
"""

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from offmodel.core.errors import ModelError
from offmodel.engines import adapters, attention, folders, lean, optimizers
from offmodel.engines.balance import Balance, chosen_per_token, routed
from offmodel.engines.forward import Body, Reference, Trainee, autocast, ending_holds, layout_holds, lone_hidden
from offmodel.engines.losses import Head
from offmodel.engines.objective import LoadBalancing
from offmodel.engines.sft import Layout, Sft
from offmodel.store.recipe import Runtime

AnyBody = TypeVar("AnyBody", bound=Body)


def prepare(
    model: Path, adapter: Path | None, sft: Sft, runtime: Runtime, layout: Layout, reference: Path | None = None
) -> Trainee:
    """The model under training; see `offmodel.engines.sft.train` for the arguments.

    Raises:
        ModelError: the folder cannot be trained as a causal language model, or not in this layout.
        RecipeError: the adapter to continue does not fit the settings.
    """
    trainee = _prepared(model, adapter, sft, runtime, layout, reference)
    plain = trainee.layout == "varlen" and trainee.compute.itemsize >= 4 and not sft.objective.needs_reference
    if plain and not trainee.device.startswith("cuda"):
        lean.lighten(trainee.model, trainee.decoder)  # a divergence is exactly 0 only where both are computed alike
        if not ending_holds(trainee):
            lean.forget(trainee.decoder)
    return trainee


def _prepared(
    model: Path, adapter: Path | None, sft: Sft, runtime: Runtime, layout: Layout, reference: Path | None
) -> Trainee:
    compute = folders.dtype_of(sft.compute_dtype)
    # Frozen weights are never updated, so an adapter's base may be held in the compute dtype.
    dtype = torch.float32 if sft.lora is None else compute
    base = folders.load_model(model, dtype=dtype, device=runtime.device)
    if sft.lora is not None:
        wrapped = adapters.inject(base, sft.lora, seed=sft.seed) if adapter is None else None
        wrapped = wrapped or adapters.resume(base, Path(adapter or ""), sft.lora)
        if compute.itemsize < 4:
            adapters.compute_in_one_dtype(wrapped)
    else:
        wrapped = base = (base if adapter is None else adapters.merge(base, adapter)).requires_grad_(True)
    params = [p for p in wrapped.parameters() if p.requires_grad]
    master = torch.float64 if compute == torch.float64 else torch.float32
    for p in params:
        p.data = p.data.to(master)
    trainee = Trainee(
        model=wrapped,
        base=base,
        decoder=base.get_decoder(),
        head=head_of(base),
        params=params,
        optimizer=optimizers.build(params, sft),
        device=runtime.device,
        compute=compute,
        layout="padded",
    )
    check_head(trainee, base)
    if sft.objective.load_balancing is not None:
        check_routers(trainee, base)
    if not sft.objective.needs_reference:
        return settle_layout(trainee, base, layout)
    if sft.lora is not None and reference in (None, model):
        trainee = settle_layout(trainee, base, layout)
        own = Reference(decoder=trainee.decoder, head=trainee.head, switch=wrapped.disable_adapter)
        return replace(trainee, reference=own)
    theirs = frozen_body(trainee, _frozen(model, adapter, reference, runtime.device))
    trainee = settle_both(trainee, theirs, layout)
    frozen = Reference(decoder=theirs.decoder, head=theirs.head, switch=contextlib.nullcontext)
    return replace(trainee, reference=frozen)


def prepare_frozen(model: Path, compute_dtype: str, runtime: Runtime, layout: Layout) -> Body:
    """A frozen base for adapters of our own; "auto" takes no packing in which one sequence's infinities reach others.

    Raises:
        ModelError: see `prepare`.
    """
    compute = folders.dtype_of(compute_dtype)
    base = folders.load_model(model, dtype=compute, device=runtime.device).requires_grad_(False)
    decoder, head = base.get_decoder(), head_of(base)
    body = Body(base=base, decoder=decoder, head=head, device=runtime.device, compute=compute, layout="padded")
    check_head(body, base)
    return settle_layout(body, base, layout, skip="packed")


def _frozen(model: Path, adapter: Path | None, reference: Path | None, device: str) -> Any:
    """The frozen model of the objective: another one, or that which is trained, as it was."""
    # float32 like the weights under training: only equal weights under equal autocast give a divergence of exactly 0.
    frozen = folders.load_model(reference or model, dtype=torch.float32, device=device)
    if reference is None and adapter is not None:
        frozen = adapters.merge(frozen, adapter)
    return frozen.requires_grad_(False)


def frozen_body(body: Body, frozen: Any) -> Body:
    """A frozen model as it is run beside a body."""
    return Body(
        base=frozen, decoder=frozen.get_decoder(), head=head_of(frozen), device=body.device, compute=body.compute,
        layout="padded",
    )  # fmt: skip


def settle_both(body: AnyBody, theirs: Body, layout: Layout) -> AnyBody:
    """The body, in a layout that holds for a frozen model beside it too.

    Raises:
        ModelError: the layout asked for does not hold for one of them, or the frozen one's loss is unknown here.
    """
    check_head(theirs, theirs.base)
    chosen = settle_layout(body, body.base, layout)
    try:
        settle_layout(theirs, theirs.base, chosen.layout)
    except ModelError:
        if layout != "auto":
            raise
        settle_layout(theirs, theirs.base, "padded")
        return settle_layout(body, body.base, "padded")
    return chosen


def settle_layout(trainee: AnyBody, base: Any, layout: Layout, *, skip: Layout | None = None) -> AnyBody:
    """The body in the layout asked for, or the fastest one in which it keeps sequences apart on this machine.

    Raises:
        ModelError: the layout asked for does not hold.
    """
    base.set_attn_implementation("sdpa")
    expected = lone_hidden(trainee)
    for candidate in [c for c in _candidates(layout, base, trainee) if c != skip or layout == skip]:
        tried = replace(trainee, layout=candidate)
        if candidate == "varlen":
            attention.register()
        base.set_attn_implementation(attention.NAME if candidate == "varlen" else "sdpa")
        if candidate == "padded" or layout_holds(tried, expected):
            return tried
    raise ModelError(
        f"Sequences in the layout '{layout}' do not stay apart for a {type(base).__name__} on {trainee.device}; "
        "use the layout 'padded' or 'auto'."
    )


def _candidates(layout: Layout, base: Any, trainee: Body) -> tuple[Layout, ...]:
    if layout != "auto":
        return (layout,)
    if not trainee.device.startswith("cuda"):
        return ("varlen", "padded")
    config = base.config.get_text_config()
    heads = config.num_attention_heads
    groups = getattr(config, "num_key_value_heads", None) or heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    right = trainee.compute == torch.bfloat16 and attention.varlen_works(trainee.device, heads, groups, head_dim)
    return ("varlen", "packed", "padded") if right else ("packed", "padded")


def head_of(base: Any) -> Head:
    """The output layer of a causal language model."""
    layer = base.get_output_embeddings()
    cap = getattr(base.config.get_text_config(), "final_logit_softcapping", None)
    return Head(layer.weight, getattr(layer, "bias", None), cap)


@torch.no_grad()
def check_head(trainee: Body, base: Any) -> None:
    """Some models scale their logits; a loss from hidden states would silently be another model's.

    Raises:
        ModelError: this is such a model.
    """
    ids = torch.arange(8, device=trainee.device)[None]
    with autocast(trainee):
        expected = base(input_ids=ids, use_cache=False).logits[0].float()
        hidden = trainee.decoder(input_ids=ids, use_cache=False).last_hidden_state[0]
        found = trainee.head.logits(hidden).float()
    scale = float(expected.abs().max()) + 1e-6
    if not torch.allclose(found / scale, expected / scale, atol=2e-2 if trainee.compute.itemsize < 4 else 1e-4):
        raise ModelError(
            f"A {type(base).__name__} computes its logits in a way that this trainer does not know; "
            "use a model whose logits are a linear layer of its last hidden states."
        )


@torch.no_grad()
def check_routers(trainee: Body, base: Any) -> None:
    """Check that a mixture tells what its routers do, and that its own auxiliary loss is the one computed here.

    Raises:
        ModelError: it does not, or it is another.
    """
    ids = torch.arange(8, device=trainee.device)[None]
    one = LoadBalancing(weight=1.0)
    try:
        with autocast(trainee):
            expected = base(input_ids=ids, use_cache=False, output_router_logits=True).aux_loss
            _, load = routed(trainee.decoder, {"input_ids": ids}, torch.ones_like(ids[0]), chosen_per_token(base))
        found = Balance(asked=one, tokens=8, unit=1.0, chosen_E=load.chosen_E, add_up=lambda x: x).loss(load)
        same = torch.allclose(found.float(), expected.float(), rtol=5e-2 if trainee.compute.itemsize < 4 else 1e-4)
    except (AttributeError, IndexError, TypeError):
        same = False
    if not same:
        raise ModelError(
            f"The load of a {type(base).__name__}'s experts cannot be balanced here: it tells nothing of its routers, "
            "or has another auxiliary loss; leave load_balancing out of the objective."
        )
