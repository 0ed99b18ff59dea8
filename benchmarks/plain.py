"""What one writes without rotfast: the layers of the studies, plainly, then tuned by hand."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def expand_einsum(weight: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """(A ⊗ B ⊗ C) weight, the formula factor by factor and the small factors first."""
    W = torch.einsum("kl,pql->pqk", C, weight)
    W = torch.einsum("iq,pqk->pik", B, W)
    return torch.einsum("op,pik->oik", A, W)


def expand_matmul(weight: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The same by three matrix products."""
    W = B @ (weight @ C.t())
    return (A @ W.flatten(1)).unflatten(1, W.shape[1:])


def expand_kron(weight: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The same by two matrix products, with B ⊗ C written out: for few input channels."""
    W = A @ (weight.flatten(1) @ torch.kron(B, C).t())
    return W.unflatten(1, (B.shape[0], C.shape[0]))


class PlainShareConv2d(nn.Conv2d):
    """ShareConv2d by einsum and F.conv2d."""

    expand = staticmethod(expand_einsum)

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, kernel_size, bias=bias)
        self.A_warp = nn.Parameter(torch.eye(out_channels))
        self.B_warp = nn.Parameter(torch.eye(in_channels))
        self.C_warp = nn.Parameter(torch.eye(kernel_size**2))

    def get_weight(self) -> Tensor:
        W = self.expand(self.weight.flatten(2), self.A_warp, self.B_warp, self.C_warp)
        return W.view_as(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.get_weight(), self.bias)


class MatmulShareConv2d(PlainShareConv2d):
    """The kernel by matrix products, then F.conv2d."""

    expand = staticmethod(expand_matmul)


class KronShareConv2d(PlainShareConv2d):
    """The kernel by two matrix products, then F.conv2d."""

    expand = staticmethod(expand_kron)


class PatchesShareConv2d(KronShareConv2d):
    """Patches gathered by a strided copy, then one batched matrix product: for few input channels."""

    def forward(self, x: Tensor) -> Tensor:
        kh, kw = self.kernel_size
        windows = x.unfold(2, kh, 1).unfold(3, kw, 1)  # (N, C, H', W', kh, kw)
        height, width = windows.shape[2:4]
        patches = windows.permute(0, 1, 4, 5, 2, 3).reshape(len(x), -1, height * width)
        kernel = self.get_weight().flatten(1).expand(len(x), -1, -1)
        y = kernel @ patches if self.bias is None else torch.baddbmm(self.bias[:, None], kernel, patches)
        return y.unflatten(2, (height, width))


class PlainShareLinearFull(nn.Module):
    """ShareLinearFull by one matrix-vector product and F.linear."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True, latent_size: int = 3) -> None:
        super().__init__()
        self.shape = (out_features, in_features)
        self.latent_params = nn.Parameter(torch.randn(latent_size) / out_features)
        self.warp = nn.Parameter(0.01 * torch.randn(in_features * out_features, latent_size))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    def get_weight(self) -> Tensor:
        return (self.warp @ self.latent_params).view(self.shape)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.get_weight(), self.bias)


class TurnedShareLinearFull(PlainShareLinearFull):
    """The product with its operands turned, W xᵀ: the library is faster so when outputs are few."""

    def forward(self, x: Tensor) -> Tensor:
        W = self.get_weight()
        y = W @ x.t() if self.bias is None else torch.addmm(self.bias[:, None], W, x.t())
        return y.t()


class PlainDedicatedCircuits(nn.Module):
    """DedicatedCircuits, unrouted, of plain layers."""

    def __init__(self, num_circuits: int = 5) -> None:
        super().__init__()
        self.circuits = nn.ModuleList(
            nn.Sequential(PlainShareConv2d(1, 32, 3), nn.ReLU(), nn.Flatten()) for _ in range(num_circuits)
        )
        self.align_layer = PlainShareLinearFull(32 * 26 * 26 * num_circuits, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.align_layer(torch.cat([circuit(x) for circuit in self.circuits], dim=1))


def plain_single_circuit() -> nn.Module:
    """SingleCircuit of plain layers."""
    return nn.Sequential(
        PlainShareConv2d(1, 32, 3), nn.ReLU(), nn.Flatten(), PlainShareLinearFull(32 * 26 * 26, 10)
    )
