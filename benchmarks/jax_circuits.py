"""The sharing study's networks in JAX, their meta step and training step, compiled for one thread of the CPU.

Parameters are a dict of arrays named as in the state dict of the torch module.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from importlib import import_module
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from benchmarks.case import Call
from benchmarks.plain_meta import Episode

Array = Any  # jax.Array, where JAX is installed
Parameters = Mapping[str, Array]
Net = Callable[[Parameters, Array], Array]
Loss = Callable[[Array, Array], Array]
Convolution = Callable[[Array, Array], Array]  # x (N, 1, H, W), kernel (O, 1, 3, 3) -> (N, O, H - 2, W - 2)


@cache
def library() -> ModuleType:
    """JAX on one thread, the caller's: it reads that from the environment, when it is imported."""
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ["PJRT_NPROC"] = "1"
    os.environ["JAX_PLATFORMS"] = "cpu"
    jax = import_module("jax")
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    jax.config.update("jax_enable_x64", True)  # for the check; float32 stays float32
    return jax


def array(tensor: Tensor) -> Array:
    return library().numpy.asarray(tensor.detach().numpy())


def arrays(module: nn.Module) -> dict[str, Array]:
    return {name: array(parameter) for name, parameter in module.named_parameters()}


def conv(x: Array, kernel: Array) -> Array:
    """The library's; under vmap over kernels it becomes one of many groups, which XLA is slow at on a CPU."""
    return library().lax.conv_general_dilated(x, kernel, (1, 1), "VALID")


def conv_of_patches(x: Array, kernel: Array) -> Array:
    """One matrix product for each image."""
    patches = library().numpy.stack(windows(x), 1)
    y = kernel.reshape(len(kernel), -1) @ patches.reshape(len(x), 9, -1)
    return y.reshape(len(x), len(kernel), *patches.shape[2:])


def conv_of_windows(x: Array, kernel: Array) -> Array:
    """Nine shifted images, each times its tap."""
    taps = kernel.reshape(len(kernel), 9, 1, 1)
    return sum(window[:, None] * taps[:, k] for k, window in enumerate(windows(x)))


def windows(x: Array) -> list[Array]:
    height, width = (size - 2 for size in x.shape[2:])
    return [x[:, 0, i : height + i, j : width + j] for i in range(3) for j in range(3)]


def share_conv2d(p: Parameters, name: str, x: Array, convolution: Convolution) -> Array:
    """ShareConv2d, the kernel by einsum, with a bias if there is one."""
    jnp = library().numpy
    weight = p[f"{name}.weight"]
    kernel = jnp.einsum("kl,pql->pqk", p[f"{name}.C_warp"], weight.reshape(*weight.shape[:2], -1))
    kernel = jnp.einsum("iq,pqk->pik", p[f"{name}.B_warp"], kernel)
    kernel = jnp.einsum("op,pik->oik", p[f"{name}.A_warp"], kernel)
    y = convolution(x, kernel.reshape(weight.shape))
    return y + p[f"{name}.bias"][:, None, None] if f"{name}.bias" in p else y


def share_linear_full(p: Parameters, name: str, x: Array) -> Array:
    """ShareLinearFull, with a bias if there is one."""
    weight = (p[f"{name}.warp"] @ p[f"{name}.latent_params"]).reshape(-1, x.shape[-1])
    y = x @ weight.T
    return y + p[f"{name}.bias"] if f"{name}.bias" in p else y


def features(p: Parameters, name: str, x: Array, convolution: Convolution) -> Array:
    return library().nn.relu(share_conv2d(p, name, x, convolution)).reshape(len(x), -1)


def rank_net(p: Parameters, x: Array) -> Array:
    """The net of the problems rank1, rank2 and rank5."""
    return share_linear_full(p, "0", x)


def rot8_net(p: Parameters, x: Array) -> Array:
    """The net of the problem rot8, by the quickest of the three convolutions."""
    return share_conv2d(p, "0", x, conv_of_windows)


def single_circuit(convolution: Convolution, p: Parameters, x: Array) -> Array:
    """SingleCircuit."""
    return share_linear_full(p, "3", features(p, "0", x, convolution))


def dedicated_circuits(convolution: Convolution, p: Parameters, x: Array) -> Array:
    """DedicatedCircuits, unrouted."""
    circuits = [name.removesuffix(".A_warp") for name in p if name.endswith(".A_warp")]
    side_by_side = [features(p, name, x, convolution) for name in circuits]
    return share_linear_full(p, "align_layer", library().numpy.concatenate(side_by_side, 1))


def squared_error(y: Array, target: Array) -> Array:
    return library().numpy.mean((y - target) ** 2)


def cross_entropy(logits: Array, target: Array) -> Array:
    jax = library()
    logarithms = jax.nn.log_softmax(logits)
    return -jax.numpy.take_along_axis(logarithms, target[:, None], 1).mean()


def meta_step(
    net: Net, loss_fn: Loss, module: nn.Module, rates: Mapping[str, Tensor], episode: Episode
) -> Call:
    """The gradients of parameters and rates, each sorted by name."""
    jax = library()

    def total(p: Parameters, rates: Parameters, episode: Sequence[Array]) -> Array:
        adapted = {name: p[name] for name in rates}

        def loss(adapted: Parameters, x: Array, y: Array) -> Array:
            return loss_fn(net({**p, **adapted}, x), y)

        def query_loss(x_spt: Array, y_spt: Array, x_qry: Array, y_qry: Array) -> Array:
            gradients = jax.grad(loss)(adapted, x_spt, y_spt)
            moved = {name: value - rates[name] * gradients[name] for name, value in adapted.items()}
            return loss(moved, x_qry, y_qry)

        return jax.vmap(query_loss)(*episode).sum()

    step = jax.jit(jax.grad(total, (0, 1)))
    given = arrays(module), {name: array(rate) for name, rate in rates.items()}, tuple(map(array, episode))
    return partial(_results, step, given)


def training_step(net: Net, loss_fn: Loss, module: nn.Module, x: Tensor, y: Tensor) -> Call:
    """The loss and the gradients of all parameters, sorted by name."""
    jax = library()

    def loss(p: Parameters, x: Array, y: Array) -> Array:
        return loss_fn(net(p, x), y)

    return partial(_results, jax.jit(jax.value_and_grad(loss)), (arrays(module), array(x), array(y)))


def _results(step: Callable[..., Any], given: Sequence[Any]) -> list[Array]:
    """What is computed, waited for; JAX sorts a dict by its keys."""
    jax = library()
    leaves: list[Array] = jax.tree.leaves(jax.block_until_ready(step(*given)))
    return leaves
