"""Classifiers of rotated images: one shared circuit, or one circuit per angle before a common head."""

from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from rotfast import functional
from rotfast.nn import ShareCircuit, ShareConv2d, ShareLinearFull, hooked

__all__ = ["DedicatedCircuits", "SingleCircuit"]

_KERNEL = 3


def _feature_count(channels: int, image_size: int) -> int:
    if not isinstance(image_size, int) or image_size < _KERNEL:
        raise ValueError(f"image_size must be an int of at least {_KERNEL}, got {image_size!r}")
    return channels * (image_size - _KERNEL + 1) ** 2


class SingleCircuit(ShareCircuit):
    """One circuit for all angles: ShareConv2d(1, channels, 3), ReLU, Flatten, ShareLinearFull to the classes.

    650,399 parameters by default.

    Args:
        num_classes: number of classes.
        latent_size: free parameters behind the weight of the head.
        channels: output channels of the convolution.
        image_size: height and width of the images, in pixels.

    Shape:
        x (N, 1, image_size, image_size) -> logits (N, num_classes).

    Raises:
        ValueError: a size is no positive int, or image_size is below 3.

    Example:
        >>> import torch
        >>> from rotfast.models import SingleCircuit
        >>> SingleCircuit()(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    batch_ndim: ClassVar[int] = 4

    def __init__(
        self, num_classes: int = 10, latent_size: int = 3, channels: int = 32, image_size: int = 28
    ) -> None:
        features = _feature_count(channels, image_size)
        conv = ShareConv2d(1, channels, _KERNEL)
        super().__init__(conv, ShareLinearFull(features, num_classes, latent_size=latent_size))


class DedicatedCircuits(nn.Module):
    """One circuit per angle; their features, side by side, enter a common head, the alignment layer.

    Each circuit is ShareConv2d(1, channels, 3), ReLU, Flatten. Unrouted, every image goes through every
    circuit. Routed, only the circuit of the image's angle is active, and the features of the others count as
    zero. 3,251,943 parameters by default.

    Args:
        num_circuits: number of circuits (angles), C.
        num_classes: number of classes.
        latent_size: free parameters behind the weight of the head.
        channels: output channels of each convolution.
        image_size: height and width of the images, in pixels.
        routed: whether ``forward`` takes the circuit of each image.

    Shape:
        x (N, 1, image_size, image_size) -> logits (N, num_classes). circuit, with ``routed`` only: int64,
        (N,) for one index in [0, C) per image, or a scalar () for the circuit of all images. The scalar costs
        one circuit instead of C: under ``torch.func.vmap`` over tasks pass one index per task, (T,). It runs
        every index through the first circuit's modules with the chosen parameters, so forward hooks fire on
        ``circuits[0]``.

    Raises:
        ValueError: a size is no positive int, or image_size is below 3; in the call, circuit is missing in a
            routed model, given to an unrouted one, or of another shape.
        TypeError: circuit is no int64 tensor.
        IndexError: circuit is outside [0, C).

    Example:
        >>> import torch
        >>> from rotfast.models import DedicatedCircuits
        >>> model = DedicatedCircuits(3, routed=True)
        >>> model(torch.rand(2, 1, 28, 28), torch.tensor([0, 2])).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        num_circuits: int = 5,
        num_classes: int = 10,
        latent_size: int = 3,
        channels: int = 32,
        image_size: int = 28,
        routed: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(num_circuits, int) or num_circuits < 1:
            raise ValueError(f"num_circuits must be a positive int, got {num_circuits!r}")
        features = _feature_count(channels, image_size)
        self.num_circuits, self.routed = num_circuits, routed
        self.circuits = nn.ModuleList(
            nn.Sequential(ShareConv2d(1, channels, _KERNEL), nn.ReLU(), nn.Flatten(-3))
            for _ in range(num_circuits)
        )
        self.align_layer = ShareLinearFull(features * num_circuits, num_classes, latent_size=latent_size)

    @property
    def batch_ndim(self) -> int | None:
        """Dimensions of a batch of images; None when routed, for then images alone do not do."""
        return None if self.routed else 4

    def forward(self, x: Tensor, circuit: Tensor | None = None) -> Tensor:
        """Classify the images x, by the given circuits if the model is routed."""
        if self.routed != (circuit is not None):
            wanted = "given to a routed model" if self.routed else "left out: the model is not routed"
            raise ValueError(f"circuit must be {wanted}, got {circuit!r}")
        if circuit is None:
            return self._forward_all(x)
        if not isinstance(circuit, Tensor) or circuit.dtype != torch.int64:
            got = getattr(circuit, "dtype", type(circuit).__name__)
            raise TypeError(f"circuit must be an int64 tensor, got {got}")
        if circuit.dim() == 0:
            return self._forward_one(x, circuit)
        if circuit.shape != x.shape[:-3]:
            raise ValueError(
                f"circuit must be a scalar or {tuple(x.shape[:-3])}, one an image, got {tuple(circuit.shape)}"
            )
        # Indexing an identity gives the gates and, unlike a comparison, refuses an index that no circuit has.
        gates = F.embedding(circuit, torch.eye(self.num_circuits, dtype=x.dtype, device=x.device))
        features = torch.stack([each(x) for each in self.circuits], dim=-2) * gates.unsqueeze(-1)
        y: Tensor = self.align_layer(features.flatten(-2))
        return y

    def _forward_all(self, x: Tensor) -> Tensor:
        """Every image through every circuit: side by side they are one circuit with all their channels."""
        head = self.align_layer
        if hooked(self):
            y: Tensor = head(torch.cat([each(x) for each in self.circuits], dim=-1))
            return y
        convolutions = [cast(ShareConv2d, each[0]) for each in self._sequences()]
        kernels = torch.cat([conv.get_weight() for conv in convolutions], dim=-4)
        biases = torch.cat([cast(Tensor, conv.bias) for conv in convolutions], dim=-1)
        return functional.conv_relu_share_linear(x, kernels, biases, head.warp, head.latent_params, head.bias)

    def _sequences(self) -> list[nn.Sequential]:
        return [cast(nn.Sequential, each) for each in self.circuits]

    def _forward_one(self, x: Tensor, circuit: Tensor) -> Tensor:
        """All images through one circuit, whose columns of the head are the only ones generated."""
        index = circuit.reshape(1)
        stacks = [dict(each.named_parameters()) for each in self.circuits]
        chosen = {
            name: torch.stack([stack[name] for stack in stacks]).index_select(0, index).squeeze(0)
            for name in stacks[0]
        }
        head = self.align_layer
        rows = head.warp.reshape(head.out_features, self.num_circuits, -1, head.latent_size)
        U = rows.index_select(1, index).reshape(-1, head.latent_size)
        if hooked(self):
            features = functional_call(self.circuits[0], chosen, (x,))
            return functional.share_linear(features, U, head.latent_params, head.bias)
        weight = chosen["0.weight"]
        warps = (chosen["0.A_warp"], chosen["0.B_warp"], chosen["0.C_warp"])
        kernel = functional.expand_kronecker(weight.flatten(-2), *warps).view_as(weight)
        return functional.conv_relu_share_linear(
            x, kernel, chosen["0.bias"], U, head.latent_params, head.bias
        )
