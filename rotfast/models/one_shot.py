"""Networks that map images to points, in which images of one class lie together also for unseen classes."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

__all__ = ["OneShotCNN", "OneShotConvNet", "OneShotEmbedder", "OneShotMLP", "SiameseTrunk"]


class _Embedding(nn.Module):
    """Images through `body` to points; `head` makes logits of them where there is one.

    Attributes:
        embedding_size: coordinates of a point, D.
    """

    def __init__(self, body: nn.Sequential, embedding_size: int, head: nn.Module | None) -> None:
        super().__init__()
        self.body, self.embedding_size, self.head = body, embedding_size, head

    def embed(self, x: Tensor) -> Tensor:
        """The points of the images x, (N, D)."""
        points: Tensor = self.body(x)
        return points

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the images x, or their points where the network classifies nothing."""
        points = self.embed(x)
        if self.head is None:
            return points
        logits: Tensor = self.head(points)
        return logits


class OneShotConvNet(_Embedding):
    """A classifier of small colour images whose 600 features, after ReLU, are the embedding.

    3×3 convolutions of the same size, each with ReLU: 100, 100, pool, dropout .3, 200, 200, 400, pool,
    dropout .3; then dropout .5, 600 units with ReLU, dropout .5, the classes. 16,717,906 parameters for 6
    classes of 32×32 images, 16,720,310 for 10.

    Args:
        num_classes: number of classes it is trained on.
        in_channels: channels of the images.
        image_size: height and width of the images, in pixels.

    Shape:
        x (N, in_channels, image_size, image_size) -> logits (N, num_classes); ``embed(x)`` -> (N, 600).

    Raises:
        ValueError: a size is no positive int, or image_size is below 4.

    Example:
        >>> import torch
        >>> from rotfast.models import OneShotConvNet
        >>> net = OneShotConvNet(image_size=8)
        >>> net(torch.rand(2, 3, 8, 8)).shape, net.embed(torch.rand(2, 3, 8, 8)).shape
        (torch.Size([2, 6]), torch.Size([2, 600]))
    """

    def __init__(self, num_classes: int = 6, in_channels: int = 3, image_size: int = 32) -> None:
        _check(image_size, num_classes=num_classes, in_channels=in_channels)
        body = nn.Sequential(
            OrderedDict[str, nn.Module](
                conv1=nn.Conv2d(in_channels, 100, 3, padding=1),
                relu1=nn.ReLU(),
                conv2=nn.Conv2d(100, 100, 3, padding=1),
                relu2=nn.ReLU(),
                pool2=nn.MaxPool2d(2),
                dropout2=nn.Dropout(0.3),
                conv3=nn.Conv2d(100, 200, 3, padding=1),
                relu3=nn.ReLU(),
                conv4=nn.Conv2d(200, 200, 3, padding=1),
                relu4=nn.ReLU(),
                conv5=nn.Conv2d(200, 400, 3, padding=1),
                relu5=nn.ReLU(),
                pool5=nn.MaxPool2d(2),
                dropout5=nn.Dropout(0.3),
                flatten=nn.Flatten(),
                dropout6=nn.Dropout(0.5),
                dense=nn.Linear(400 * (image_size // 4) ** 2, 600),
                relu6=nn.ReLU(),
            )
        )
        super().__init__(body, 600, nn.Sequential(nn.Dropout(0.5), nn.Linear(600, num_classes)))


class OneShotCNN(_Embedding):
    """A classifier of digits that goes through a point of few coordinates, none of them negative.

    Two 3×3 convolutions of 64 channels, each with ReLU and pool; then embedding_size units with ReLU, and the
    classes. 43,872 parameters by default.

    Args:
        num_classes: outputs.
        embedding_size: coordinates of a point.
        in_channels: channels of the images.
        image_size: height and width of the images, in pixels.

    Shape:
        x (N, in_channels, image_size, image_size) -> logits (N, num_classes); ``embed(x)`` -> (N, D).

    Raises:
        ValueError: a size is no positive int, or image_size is below 4.

    Example:
        >>> import torch
        >>> from rotfast.models import OneShotCNN
        >>> OneShotCNN(embedding_size=3).embed(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self, num_classes: int = 10, embedding_size: int = 2, in_channels: int = 1, image_size: int = 28
    ) -> None:
        _check(image_size, num_classes=num_classes, embedding_size=embedding_size, in_channels=in_channels)
        body = nn.Sequential(
            OrderedDict[str, nn.Module](
                conv1=nn.Conv2d(in_channels, 64, 3, padding=1),
                relu1=nn.ReLU(),
                pool1=nn.MaxPool2d(2),
                conv2=nn.Conv2d(64, 64, 3, padding=1),
                relu2=nn.ReLU(),
                pool2=nn.MaxPool2d(2),
                flatten=nn.Flatten(),
                dense=nn.Linear(64 * (image_size // 4) ** 2, embedding_size),
                relu3=nn.ReLU(),
            )
        )
        super().__init__(body, embedding_size, nn.Linear(embedding_size, num_classes))


class OneShotMLP(_Embedding):
    """A classifier without convolutions that goes through a point of few coordinates.

    784-128-128-2-10, each but the last with ReLU; 117,280 parameters by default.

    Args:
        num_classes: outputs.
        embedding_size: coordinates of a point.
        in_channels: channels of the images.
        image_size: height and width of the images, in pixels.

    Shape:
        x (N, in_channels, image_size, image_size) -> logits (N, num_classes); ``embed(x)`` -> (N, D).

    Raises:
        ValueError: a size is no positive int.

    Example:
        >>> import torch
        >>> from rotfast.models import OneShotMLP
        >>> OneShotMLP()(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self, num_classes: int = 10, embedding_size: int = 2, in_channels: int = 1, image_size: int = 28
    ) -> None:
        _check(image_size, 1, num_classes=num_classes, embedding_size=embedding_size, in_channels=in_channels)
        body = nn.Sequential(
            OrderedDict[str, nn.Module](
                flatten=nn.Flatten(),
                dense1=nn.Linear(in_channels * image_size**2, 128),
                relu1=nn.ReLU(),
                dense2=nn.Linear(128, 128),
                relu2=nn.ReLU(),
                dense3=nn.Linear(128, embedding_size),
                relu3=nn.ReLU(),
            )
        )
        super().__init__(body, embedding_size, nn.Linear(embedding_size, num_classes))


class SiameseTrunk(_Embedding):
    """What both sides of a siamese network share: an image to a point, trained on pairs.

    A 3×3 convolution of 32 channels, ReLU, pool, a 4×4 convolution of 64 channels of the same size, ReLU,
    pool, and a linear layer. 39,426 parameters by default.

    Args:
        embedding_size: coordinates of a point.
        in_channels: channels of the images.
        image_size: height and width of the images, in pixels.

    Shape:
        x (N, in_channels, image_size, image_size) -> points (N, embedding_size), as ``embed(x)``.

    Raises:
        ValueError: a size is no positive int, or image_size is below 4.

    Example:
        >>> import torch
        >>> from rotfast.models import SiameseTrunk
        >>> SiameseTrunk()(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 2])
    """

    def __init__(self, embedding_size: int = 2, in_channels: int = 1, image_size: int = 28) -> None:
        _check(image_size, embedding_size=embedding_size, in_channels=in_channels)
        body = nn.Sequential(
            OrderedDict[str, nn.Module](
                conv1=nn.Conv2d(in_channels, 32, 3, padding=1),
                relu1=nn.ReLU(),
                pool1=nn.MaxPool2d(2),
                # Same size with an even kernel: one row and column more after the image than before it.
                pad2=nn.ZeroPad2d((1, 2, 1, 2)),
                conv2=nn.Conv2d(32, 64, 4),
                relu2=nn.ReLU(),
                pool2=nn.MaxPool2d(2),
                flatten=nn.Flatten(),
                dense=nn.Linear(64 * (image_size // 4) ** 2, embedding_size),
            )
        )
        super().__init__(body, embedding_size, None)


class OneShotEmbedder(_Embedding):
    """An embedding for unseen classes: convolutions with batch norm, and a linear layer to 64 coordinates.

    Blocks of a 3×3 convolution, batch norm, ReLU and pool, of width, 2·width and 4·width channels, each of
    `depth` convolutions; then the linear layer, from all positions. Points are meant to be compared by their
    direction (metric "cosine").

    With `rotation_head` a linear layer tells from the points by how many quarters the image was turned: the
    pretext of RotNet (Gidaris, Singh, Komodakis 2018, arXiv 1803.07728) as a second task.

    Args:
        embedding_size: coordinates of a point.
        in_channels: channels of the images.
        image_size: height and width of the images, in pixels.
        width: channels of the first block.
        depth: convolutions of every block.
        rotation_head: whether there is that head.

    Shape:
        x (N, in_channels, image_size, image_size) -> points (N, embedding_size), as ``embed(x)``;
        ``rotation(points)`` -> logits (N, 4).

    Raises:
        ValueError: a size is no positive int, or image_size is below 8.

    Example:
        >>> import torch
        >>> from rotfast.models import OneShotEmbedder
        >>> net = OneShotEmbedder(rotation_head=True)
        >>> points = net(torch.rand(2, 1, 28, 28))
        >>> points.shape, net.rotation(points).shape
        (torch.Size([2, 64]), torch.Size([2, 4]))
    """

    def __init__(
        self,
        embedding_size: int = 64,
        in_channels: int = 1,
        image_size: int = 28,
        *,
        width: int = 32,
        depth: int = 1,
        rotation_head: bool = False,
    ) -> None:
        _check(
            image_size, 8, embedding_size=embedding_size, in_channels=in_channels, width=width, depth=depth
        )
        layers: list[nn.Module] = []
        channels = in_channels
        for out in (width, 2 * width, 4 * width):
            for _ in range(depth):
                # The batch norm has the bias.
                layers += [
                    nn.Conv2d(channels, out, 3, padding=1, bias=False),
                    nn.BatchNorm2d(out),
                    nn.ReLU(),
                ]
                channels = out
            layers.append(nn.MaxPool2d(2))
        dense = nn.Linear(channels * (image_size // 8) ** 2, embedding_size)
        super().__init__(nn.Sequential(*layers, nn.Flatten(), dense), embedding_size, None)
        self.rotation = nn.Linear(embedding_size, 4) if rotation_head else None


def _check(image_size: int, least: int = 4, **numbers: int) -> None:
    for name, number in numbers.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise ValueError(f"{name} must be a positive int, got {number!r}")
    if not isinstance(image_size, int) or image_size < least:
        raise ValueError(f"image_size must be an int of at least {least}, got {image_size!r}")
