"""Run tasks a chunk at a time, keeping no graph: backward runs each chunk again."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

# torch.utils.checkpoint does not serve here: its default form works by saved-tensor hooks, which torch.func
# refuses, and its reentrant form refuses torch.autograd.grad.


def recompute(
    run: Callable[..., Sequence[Tensor]],
    inputs: Sequence[Tensor],
    parameters: Sequence[Tensor],
) -> tuple[Tensor, ...]:
    """Call run(*inputs) without recording a graph; backward calls it again, with equal random draws.

    Args:
        run: returns tensors; may read parameters on its own.
        inputs: tensors handed to run.
        parameters: leaf tensors that run reads by itself and that shall receive gradients.

    Returns:
        The outputs of run, differentiable once with respect to inputs and parameters.
    """
    apply: Callable[..., tuple[Tensor, ...]] = _Recompute.apply
    return apply(run, len(inputs), *inputs, *parameters)


class _Surroundings:
    """Random states and autocast settings at the time of the forward pass."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.cpu_state = torch.get_rng_state()
        self.device_type = next((x.device.type for x in tensors if x.device.type != "cpu"), "cpu")
        self.device_module = torch.get_device_module(self.device_type)
        devices = sorted({x.get_device() for x in tensors if x.device.type != "cpu"})
        self.device_states = {device: self.device_module.get_rng_state(device) for device in devices}
        self.autocast_enabled = torch.is_autocast_enabled(self.device_type)
        self.autocast_dtype = torch.get_autocast_dtype(self.device_type)

    def call(self, run: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        autocast = torch.autocast(self.device_type, self.autocast_dtype, self.autocast_enabled)
        with torch.random.fork_rng(list(self.device_states), device_type=self.device_type), autocast:
            torch.set_rng_state(self.cpu_state)
            for device, state in self.device_states.items():
                self.device_module.set_rng_state(state, device)
            return run(*inputs)


class _Recompute(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        run: Callable[..., Sequence[Tensor]],
        num_inputs: int,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.run, ctx.num_inputs = run, num_inputs
        ctx.surroundings = _Surroundings(tensors)
        # Saved although run knows its parameters: torch then notices one that was changed in place before
        # backward.
        ctx.save_for_backward(*tensors)
        return tuple(run(*tensors[:num_inputs]))

    @staticmethod
    def backward(ctx: Any, *output_gradients: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            # Without this a second derivative would silently lack every path through the chunks.
            raise RuntimeError(
                "task_chunk: meta-gradients of chunked tasks cannot be differentiated again; got "
                "create_graph=True, which needs task_chunk=None"
            )
        tensors = ctx.saved_tensors
        inputs = [x.detach().requires_grad_(x.requires_grad) for x in tensors[: ctx.num_inputs]]
        sources = [*inputs, *tensors[ctx.num_inputs :]]
        with torch.enable_grad():
            outputs = ctx.surroundings.call(ctx.run, inputs)
        differentiable = [i for i, output in enumerate(outputs) if output.requires_grad]
        gradients = iter(
            torch.autograd.grad(
                [outputs[i] for i in differentiable],
                [source for source in sources if source.requires_grad],
                [output_gradients[i] for i in differentiable],
                allow_unused=True,
            )
        )
        return (
            None,
            None,
            *(next(gradients) if source.requires_grad else None for source in sources),
        )
