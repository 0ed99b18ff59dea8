"""MetaLearner: gradient-based meta-learning of any nn.Module, all tasks at once."""

from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_structure, tree_unflatten

from rotfast.meta.batching import Batching, Parameters, Tensors, choose
from rotfast.meta.chunks import recompute
from rotfast.meta.inner import INNER_OPTIMIZERS
from rotfast.meta.rates import InnerRates
from rotfast.nn import adapted_parameters

_NORMS_WITH_BUFFERS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)


class MetaLearner(nn.Module):
    """Meta-learning by gradient descent (MAML), where only the outer loop learns symmetry parameters (MSR).

    Convention:
        net has parameters theta (adapted inside, ``rotfast.nn.adapted_parameters(net)``) and U (everything
        else: the symmetry parameters of ``rotfast.nn.symmetry_parameters(net)`` and whatever is frozen).
        Every task t starts from the same theta and takes K = inner_steps steps on its own support set, at
        rates alpha::

            theta[t, 0]   = theta
            theta[t, k+1] = theta[t, k] - alpha * d(loss_fn(net(x_spt[t]; theta[t, k], U), y_spt[t]))
            losses[t]     = loss_fn(net(x_qry[t]; theta[t, K], U), y_qry[t])

        where d is the gradient with respect to theta[t, k] (inner_optimizer="sgd") or the Adam direction
        made from it. Differentiating losses gives the meta-gradients of theta, U and alpha, through the
        inner gradients as well unless first_order. With symmetry parameters this is Algorithm 1 of Zhou,
        Knowles and Finn 2020 (arXiv 2007.02933), without them MAML (Finn, Abbeel and Levine 2017, arXiv
        1703.03400); learned alpha is Meta-SGD (Li et al. 2017, arXiv 1707.09835).

    Shapes: T tasks come first, x_spt and y_spt (T, N_spt, ...), x_qry and y_qry (T, N_qry, ...). Each may be
    a tuple of tensors instead; a tuple x is passed to net as positional arguments, a tuple y to loss_fn as
    it is. net sees one task at a time, without the task dimension.

    Which parameters are adapted is settled here, in the constructor. A parameter frozen before
    (requires_grad=False) is not adapted; one frozen later is still adapted, but its initial value is no
    longer learned. Tied parameters move together.

    net runs under torch.func.vmap: dropout draws anew for each task, and batch normalisation has to be in
    eval mode or have track_running_stats=False, because there is only one set of running statistics for all
    tasks.

    Args:
        net: any module. Kept as the submodule ``net``, not copied.
        loss_fn: called as loss_fn(net output, y) for one task; returns a scalar tensor.
        inner_lr: initial value of every inner rate; finite, not negative.
        lr_mode: "per_layer" learns one rate per adapted tensor, "per_param" one per element, "fixed" none.
            The rates are in ``inner_lrs``, a mapping from parameter name to rate.
        inner_optimizer: "sgd" or "adam" (beta 0.9 and 0.999, eps 1e-8, bias correction; state fresh in
            every episode).
        inner_steps: number K of inner steps; 0 means no adaptation.
        first_order: if True, inner gradients are constants for the outer loop.
        task_chunk: most tasks held in memory at once, or None for all. With more tasks than that, chunks
            are run one after another and run again in backward, so memory does not grow with T, at the
            price of a second forward pass. Gradients then reach the parameters of net, loss_fn and the
            rates and the inputs, but no tensor that loss_fn merely closes over, and they cannot be
            differentiated again.

    Raises:
        TypeError: if net is no module, loss_fn not callable, or an argument has the wrong type.
        ValueError: if an argument is out of range, or net has nothing to adapt (all parameters frozen or
            symmetry parameters) although inner_steps > 0.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
        >>> learner = MetaLearner(net, nn.functional.mse_loss, inner_lr=0.1, inner_steps=2)
        >>> x_spt, y_spt = torch.randn(16, 5, 4), torch.randn(16, 5, 1)  # 16 tasks, 5 support samples each
        >>> x_qry, y_qry = torch.randn(16, 9, 4), torch.randn(16, 9, 1)
        >>> losses = learner(x_spt, y_spt, x_qry, y_qry)
        >>> losses.shape
        torch.Size([16])
        >>> losses.sum().backward()
        >>> net[0].weight.grad.shape, learner.inner_lrs["0.weight"].grad.shape
        (torch.Size([8, 4]), torch.Size([]))
        >>> learner.adapt(x_spt, y_spt)["0.weight"].shape
        torch.Size([16, 8, 4])
    """

    def __init__(
        self,
        net: nn.Module,
        loss_fn: Callable[[Any, Any], Tensor],
        inner_lr: float = 0.1,
        lr_mode: str = "per_layer",
        inner_optimizer: str = "sgd",
        inner_steps: int = 1,
        first_order: bool = False,
        task_chunk: int | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(net, nn.Module):
            raise TypeError(f"net: expected a torch.nn.Module; got {type(net).__name__}")
        if not callable(loss_fn):
            raise TypeError(
                f"loss_fn: expected a callable (output, target) -> scalar; got {type(loss_fn).__name__}"
            )
        if not isinstance(inner_lr, (int, float)) or isinstance(inner_lr, bool):
            raise TypeError(f"inner_lr: expected a number; got {type(inner_lr).__name__}")
        if inner_optimizer not in INNER_OPTIMIZERS:
            raise ValueError(
                f"inner_optimizer: expected one of {', '.join(INNER_OPTIMIZERS)}; got {inner_optimizer!r}"
            )
        _check_count("inner_steps", inner_steps, least=0)
        if task_chunk is not None:
            _check_count("task_chunk", task_chunk, least=1)

        adapted = adapted_parameters(net)
        if inner_steps > 0 and not adapted:
            raise ValueError(
                "net: expected at least one parameter to adapt; got none, all of its parameters are symmetry "
                "parameters or frozen (requires_grad=False)"
            )
        self.net = net
        self.loss_fn = loss_fn
        self.inner_lrs = InnerRates(adapted, float(inner_lr), lr_mode)
        self.inner_optimizer = inner_optimizer
        self.inner_steps = inner_steps
        self.first_order = first_order
        self.task_chunk = task_chunk

    def forward(self, x_spt: Tensors, y_spt: Tensors, x_qry: Tensors, y_qry: Tensors) -> Tensor:
        """Adapt to the support sets and return the query loss of each task, shape (T,).

        Raises:
            ValueError: if the number of tasks differs between arguments or is 0, loss_fn returns no scalar,
                or net has batch normalisation that would update running statistics.
            TypeError: if an argument is neither a tensor nor a tuple of tensors.
        """
        losses: Tensor = self._run(self._losses, x_spt=x_spt, y_spt=y_spt, x_qry=x_qry, y_qry=y_qry)
        return losses

    def query(self, x_spt: Tensors, y_spt: Tensors, x_qry: Tensors, y_qry: Tensors) -> tuple[Tensor, Any]:
        """Return the query loss of each task, (T,), and the query outputs, (T, N_qry, ...), in one pass."""

        def episode(
            batching: Batching, x_spt: Tensors, y_spt: Tensors, x_qry: Tensors, y_qry: Tensors
        ) -> tuple[Tensor, Any]:
            output = batching.output(self._adapt(batching, x_spt, y_spt), x_qry)
            return batching.loss(output, y_qry), output

        result: tuple[Tensor, Any] = self._run(episode, x_spt=x_spt, y_spt=y_spt, x_qry=x_qry, y_qry=y_qry)
        return result

    def backward(self, x_spt: Tensors, y_spt: Tensors, x_qry: Tensors, y_qry: Tensors) -> Tensor:
        """Add the gradients of the summed query losses to ``.grad``; return the losses, (T,), without graph.

        The same as ``learner(…).sum().backward()``, but each chunk of tasks goes backward before the next one
        begins: with task_chunk memory does not grow with T, and nothing is computed twice.
        """
        losses = []
        for chunk in self._chunks(_inputs(x_spt=x_spt, y_spt=y_spt, x_qry=x_qry, y_qry=y_qry)):
            part = self._run_at_once(self._losses, chunk)
            part.sum().backward()
            losses.append(part.detach())
        return torch.cat(losses)

    def predict(self, x_spt: Tensors, y_spt: Tensors, x_qry: Tensors) -> Any:
        """Adapt to the support sets and return the outputs on the query inputs, (T, N_qry, ...)."""

        def episode(batching: Batching, x_spt: Tensors, y_spt: Tensors, x_qry: Tensors) -> Any:
            return batching.output(self._adapt(batching, x_spt, y_spt), x_qry)

        return self._run(episode, x_spt=x_spt, y_spt=y_spt, x_qry=x_qry)

    def adapt(self, x_spt: Tensors, y_spt: Tensors) -> Parameters:
        """Adapt to the support sets and return the adapted parameters, {name: (T, *shape)}.

        They are differentiable with respect to the initial parameters, the symmetry parameters and the
        rates, unless called under torch.no_grad().
        """
        adapted: Parameters = self._run(self._adapt, x_spt=x_spt, y_spt=y_spt)
        return adapted

    def extra_repr(self) -> str:
        """Describe the settings, for repr()."""
        return (
            f"inner_optimizer={self.inner_optimizer!r}, inner_steps={self.inner_steps}, "
            f"first_order={self.first_order}, task_chunk={self.task_chunk}"
        )

    def _losses(
        self, batching: Batching, x_spt: Tensors, y_spt: Tensors, x_qry: Tensors, y_qry: Tensors
    ) -> Tensor:
        return batching.loss(batching.output(self._adapt(batching, x_spt, y_spt), x_qry), y_qry)

    def _adapt(self, batching: Batching, x_spt: Tensors, y_spt: Tensors) -> Parameters:
        """The inner loop."""
        initial = {name: self.net.get_parameter(name) for name in self.inner_lrs}
        parameters = batching.initial(initial, x_spt)
        rates = dict(self.inner_lrs.items())
        optimizer = INNER_OPTIMIZERS[self.inner_optimizer]()
        for _ in range(self.inner_steps):
            gradients = batching.gradients(parameters, x_spt, y_spt, self.first_order)
            directions = optimizer.directions(gradients)
            parameters = {name: value - rates[name] * directions[name] for name, value in parameters.items()}
        return parameters

    def _run(self, episode: Callable[..., Any], **arguments: Tensors) -> Any:
        """Run the episode for every task; the tensors it returns, nested or not, have the tasks in front."""
        inputs = _inputs(**arguments)
        chunks = self._chunks(inputs)
        if len(chunks) == 1:
            return self._run_at_once(episode, inputs)

        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        structure = tree_structure(inputs)
        result_structure = None

        def run(*leaves: Tensor) -> list[Tensor]:
            nonlocal result_structure
            results, result_structure = tree_flatten(
                self._run_at_once(episode, tree_unflatten(leaves, structure))
            )
            return results

        parts = []
        for chunk in chunks:
            leaves = tree_leaves(chunk)
            parts.append(recompute(run, leaves, parameters) if torch.is_grad_enabled() else run(*leaves))
        assert result_structure is not None
        return tree_unflatten([torch.cat(each) for each in zip(*parts, strict=True)], result_structure)

    def _run_at_once(self, episode: Callable[..., Any], inputs: tuple[Tensors, ...]) -> Any:
        _check_running_statistics(self.net)
        batching = choose(self.net, self.loss_fn, inputs)
        return batching.run(partial(episode, batching), *inputs)

    def _chunks(self, inputs: tuple[Tensors, ...]) -> list[tuple[Tensors, ...]]:
        """The inputs of task_chunk tasks at a time."""
        tasks = tree_leaves(inputs)[0].shape[0]
        if self.task_chunk is None or tasks <= self.task_chunk:
            return [inputs]
        size = self.task_chunk
        return [tree_map(itemgetter(slice(i, i + size)), inputs) for i in range(0, tasks, size)]


def _check_count(name: str, value: int, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}: expected an integer; got {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name}: expected at least {least}; got {value}")


def _inputs(**arguments: Tensors) -> tuple[Tensors, ...]:
    """The arguments in order, once their numbers of tasks agree."""
    counts = {}
    for name, argument in arguments.items():
        tensors = argument if isinstance(argument, tuple) else (argument,)
        for position, tensor in enumerate(tensors):
            label = f"{name}[{position}]" if isinstance(argument, tuple) else name
            if not isinstance(tensor, Tensor):
                raise TypeError(
                    f"{label}: expected a tensor or a tuple of tensors; got {type(tensor).__name__}"
                )
            if tensor.ndim == 0:
                raise ValueError(
                    f"{label}: expected a tensor with the tasks as first dimension; got a scalar"
                )
            counts[label] = tensor.shape[0]
    num_tasks = next(iter(counts.values()), 0)
    if num_tasks == 0 or any(count != num_tasks for count in counts.values()):
        got = ", ".join(f"{label} {count}" for label, count in counts.items())
        raise ValueError(
            f"number of tasks: expected the same first dimension, at least 1, in all arguments; got {got}"
        )
    return tuple(arguments.values())


def _check_running_statistics(net: nn.Module) -> None:
    for name, module in net.named_modules():
        if isinstance(module, _NORMS_WITH_BUFFERS) and module.training and module.track_running_stats:
            raise ValueError(
                f"{name or 'net'}: expected no {type(module).__name__} that updates running statistics, for "
                "tasks share them; got training mode. Use GroupNorm, track_running_stats=False or eval()"
            )
