"""Networks for N-way episodes of small images: a classifier to adapt in each episode, and prototypes."""

from torch import Tensor, nn
from torch.nn import functional as F

from rotfast.nn import ShareConv2d

__all__ = ["FewShotClassifier", "FewShotPrototypes"]

_BLOCKS = 4
_CHANNELS_OF_A_GROUP = 4


class FewShotClassifier(nn.Module):
    """Four blocks of a 3×3 convolution of stride 2, group norm and ReLU; a linear layer to the classes.

    Group norm looks at one image alone, so an answer does not depend on the other queries of its episode, as
    it would with the batch norm that the field often has here.

    Args:
        ways: classes of an episode.
        width: channels of every block, a multiple of 4.
        shared: whether the convolutions are ``ShareConv2d``, whose warps the outer loop alone learns (MSR),
            instead of ``nn.Conv2d`` (MAML).
        in_channels: channels of the images.
        image_size: height and width of the images, in pixels.

    Shape:
        x (N, in_channels, image_size, image_size) -> logits (N, ways).

    Raises:
        ValueError: a size is no positive int, or width no multiple of 4.

    Source: the network of Finn, Abbeel, Levine 2017 (arXiv 1703.03400) for Omniglot, but for its norm.

    Example:
        >>> import torch
        >>> from rotfast.models import FewShotClassifier
        >>> FewShotClassifier(shared=True)(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        ways: int = 5,
        width: int = 32,
        *,
        shared: bool = False,
        in_channels: int = 1,
        image_size: int = 28,
    ) -> None:
        super().__init__()
        _check(ways=ways, width=width, in_channels=in_channels, image_size=image_size)
        self.trunk, features = _trunk(width, shared, in_channels, image_size)
        self.head = nn.Linear(features, ways)

    def forward(self, x: Tensor) -> Tensor:
        """Classify the images x."""
        y: Tensor = self.head(self.trunk(x))
        return y


class FewShotPrototypes(nn.Module):
    """The trunk of `FewShotClassifier`; every query goes to the class whose mean support point is nearest.

    Args:
        ways, width, in_channels, image_size: as in `FewShotClassifier`.

    Shape:
        x (N, in_channels, image_size, image_size), the queries, x_spt (K, …), the support images, and y_spt
        (K,) int64, their classes from 0 to ways - 1, each at least once -> logits (N, ways), minus the
        squared distances.

    Raises:
        ValueError: as `FewShotClassifier`.

    Source: Snell, Swersky, Zemel 2017 (arXiv 1703.05175).

    Example:
        >>> import torch
        >>> from rotfast.models import FewShotPrototypes
        >>> net = FewShotPrototypes(ways=2)
        >>> net(torch.rand(3, 1, 28, 28), torch.rand(2, 1, 28, 28), torch.tensor([0, 1])).shape
        torch.Size([3, 2])
    """

    def __init__(self, ways: int = 5, width: int = 32, *, in_channels: int = 1, image_size: int = 28) -> None:
        super().__init__()
        _check(ways=ways, width=width, in_channels=in_channels, image_size=image_size)
        self.ways = ways
        self.trunk, _ = _trunk(width, False, in_channels, image_size)

    def forward(self, x: Tensor, x_spt: Tensor, y_spt: Tensor) -> Tensor:
        """Classify the queries x by the support images."""
        support: Tensor = self.trunk(x_spt)
        query: Tensor = self.trunk(x)
        member = F.one_hot(y_spt, self.ways).to(support.dtype)
        means = (member.mT @ support) / member.sum(0).unsqueeze(1)
        return -(query.unsqueeze(-2) - means).square().sum(-1)


def _trunk(width: int, shared: bool, channels: int, image_size: int) -> tuple[nn.Sequential, int]:
    """The blocks, flattened, and how many features come out."""
    convolution = ShareConv2d if shared else nn.Conv2d
    layers: list[nn.Module] = []
    for _ in range(_BLOCKS):
        layers += [
            convolution(channels, width, 3, stride=2, padding=1),
            nn.GroupNorm(width // _CHANNELS_OF_A_GROUP, width),
            nn.ReLU(),
        ]
        channels, image_size = width, (image_size + 1) // 2
    return nn.Sequential(*layers, nn.Flatten()), width * image_size**2


def _check(**numbers: int) -> None:
    for name, number in numbers.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise ValueError(f"{name} must be a positive int, got {number!r}")
    if numbers["width"] % _CHANNELS_OF_A_GROUP:
        raise ValueError(f"width must be a multiple of {_CHANNELS_OF_A_GROUP}, got {numbers['width']}")
