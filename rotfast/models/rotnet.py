"""Classifiers for few labels: a network on projections, a CNN, and RotNet, which learns from rotations."""

from __future__ import annotations

import importlib
import json
import os
import uuid
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

__all__ = ["DigitCNN", "ProfileMLP", "RotNet"]

Trunk = Literal["deck", "small", "nin"]
Frozen = Literal["none", "convs", "all"]

_WIDTHS = {"deck": 32, "small": 32, "nin": 192}
_SIZES = {"deck": 4, "small": 8, "nin": 4}
_FILE = "rotnet.safetensors"
_KEY = "rotfast.models.RotNet"


class ProfileMLP(nn.Sequential):
    """A small network on projections and profiles: 112-128-64-dropout-10, 23,370 parameters by default.

    Args:
        num_classes: number of classes.
        features: number of inputs; ``rotfast.data.projection_features`` makes 112 of a 28×28 image.

    Shape:
        x (N, features) -> logits (N, num_classes).

    Raises:
        ValueError: a size is no positive int.

    Example:
        >>> import torch
        >>> from rotfast.models import ProfileMLP
        >>> ProfileMLP()(torch.rand(2, 112)).shape
        torch.Size([2, 10])
    """

    def __init__(self, num_classes: int = 10, features: int = 112) -> None:
        _check_positive(num_classes=num_classes, features=features)
        super().__init__(
            nn.Linear(features, 128),
            nn.ReLU(),
            nn.Linear(128, 64),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(64, num_classes),
        )


class DigitCNN(nn.Sequential):
    """Two 3×3 convolutions, a pool and 1,024 hidden units with dropout: 6,443,370 parameters by default.

    Args:
        num_classes: number of classes.
        in_channels: channels of the images.
        image_size: height and width of the images, in pixels.

    Shape:
        x (N, in_channels, image_size, image_size) -> logits (N, num_classes).

    Raises:
        ValueError: a size is no positive int, or image_size is below 2.

    Example:
        >>> import torch
        >>> from rotfast.models import DigitCNN
        >>> DigitCNN()(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1, image_size: int = 28) -> None:
        _check_positive(num_classes=num_classes, in_channels=in_channels)
        _check_size(image_size, 2)
        super().__init__(
            nn.Conv2d(in_channels, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * (image_size // 2) ** 2, 1024),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(1024, num_classes),
        )


class RotNet(nn.Module):
    """A network that first learns how far an image was turned, then learns classes from few labels.

    It has three parts: ``trunk``, the convolutions; ``hidden``, what follows them; ``head``, a linear layer.
    The head answers the rotation task first, and ``new_head`` replaces it for the classes.

    Trunks, all of 3×3 convolutions (padding 1) unless said otherwise:

    - ``"deck"``: convolutions 32, 32, 32, pool, 64, 64, 64, pool, each with ReLU; hidden 3136-1024, ReLU.
      3,327,556 parameters with 4 classes, 3,333,706 with 10.
    - ``"small"``: convolutions 32, 32, pool, 64, 64, pool, 128, 128, pool, each with batch norm and ReLU;
      hidden is dropout of these features, at their places.
    - ``"nin"``: for larger images, network in network: three blocks of a 5×5 (the last: 3×3) and two 1×1
      convolutions with batch norm and ReLU, pools between them; hidden is the mean over positions.

    Source: Gidaris, Singh, Komodakis 2018 (arXiv 1803.07728).

    Args:
        trunk: "deck", "small" or "nin".
        num_classes: outputs of the head; 4 tell quarter turns.
        in_channels: channels of the images.
        image_size: height and width of the images, in pixels.
        width: channels of the first convolution; others follow in proportion. None is 32, of nin 192.

    Shape:
        x (N, in_channels, image_size, image_size) -> logits (N, num_classes).

    Raises:
        ValueError: an unknown trunk, a size that is no positive int, or image_size below 4, of small 8.

    Example:
        >>> import torch
        >>> from rotfast.models import RotNet
        >>> net = RotNet("small")
        >>> net(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 4])
        >>> classifier = net.new_head(10).freeze("convs")
        >>> classifier(torch.rand(2, 1, 28, 28)).shape, classifier.features(torch.rand(2, 1, 28, 28)).shape
        (torch.Size([2, 10]), torch.Size([2, 1152]))
    """

    def __init__(
        self,
        trunk: Trunk = "deck",
        num_classes: int = 4,
        *,
        in_channels: int = 1,
        image_size: int = 28,
        width: int | None = None,
    ) -> None:
        super().__init__()
        if trunk not in _WIDTHS:
            raise ValueError(f"trunk must be one of {', '.join(_WIDTHS)}, got {trunk!r}")
        width = _WIDTHS[trunk] if width is None else width
        _check_positive(num_classes=num_classes, in_channels=in_channels, width=width)
        _check_size(image_size, _SIZES[trunk])
        self.architecture = {
            "trunk": trunk,
            "in_channels": in_channels,
            "image_size": image_size,
            "width": width,
        }
        self.trunk, self.hidden, features = _BUILDERS[trunk](in_channels, image_size, width)
        self.head = nn.Linear(features, num_classes)
        self._frozen: Frozen = "none"

    def features(self, x: Tensor) -> Tensor:
        """What the head sees of images x, (N, features)."""
        features: Tensor = self.hidden(self.trunk(x))
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Classify the images x."""
        logits: Tensor = self.head(self.features(x))
        return logits

    def new_head(self, num_classes: int) -> RotNet:
        """Replace the head by a fresh one of so many classes, on the same device; returns self.

        Raises:
            ValueError: num_classes is no positive int.
        """
        _check_positive(num_classes=num_classes)
        weight = self.head.weight
        self.head = nn.Linear(weight.shape[1], num_classes, device=weight.device, dtype=weight.dtype)
        return self

    def freeze(self, part: Frozen) -> RotNet:
        """Say what training leaves alone; returns self.

        Frozen batch norms keep their statistics too, also when ``train()`` is called.

        Args:
            part: "none", "convs" (the trunk) or "all" (all but the head).

        Raises:
            ValueError: another part.
        """
        if part not in ("none", "convs", "all"):
            raise ValueError(f"part must be none, convs or all, got {part!r}")
        self.trunk.requires_grad_(part == "none")
        self.hidden.requires_grad_(part != "all")
        self._frozen = part
        return self.train(self.training)

    def train(self, mode: bool = True) -> RotNet:
        """Switch between training and evaluation, frozen parts staying in evaluation."""
        super().train(mode)
        if self._frozen != "none":
            self.trunk.eval()
        if self._frozen == "all":
            self.hidden.eval()
        return self

    def load_features(self, other: RotNet) -> RotNet:
        """Take over the weights of another network's trunk and hidden layer; returns self.

        Raises:
            ValueError: the other has another architecture.
        """
        for name, value in self.architecture.items():
            got = other.architecture[name]
            if got != value:
                raise ValueError(f"other must have {name} {value!r}, got {got!r}")
        self.trunk.load_state_dict(other.trunk.state_dict())
        self.hidden.load_state_dict(other.hidden.state_dict())
        return self

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write weights and architecture into one safetensors file, whole or not at all."""
        architecture = {**self.architecture, "num_classes": self.head.out_features}
        tensors = {name: value.detach().contiguous() for name, value in self.state_dict().items()}
        target = Path(path)
        partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
        try:
            _safetensors("safetensors.torch").save_file(tensors, partial, {_KEY: json.dumps(architecture)})
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RotNet:
        """A network with its weights from a file that ``save`` wrote, on the CPU (needs safetensors).

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged, or holds no RotNet.

        Example:
            >>> import tempfile
            >>> from pathlib import Path
            >>> from rotfast.models import RotNet
            >>> path = Path(tempfile.mkdtemp()) / "rotnet.safetensors"
            >>> RotNet("small", num_classes=8).save(path)
            >>> RotNet.load(path).head.out_features
            8
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"no network in {path}: the file does not exist")
        try:
            with _safetensors("safetensors").safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except Exception as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        if _KEY not in metadata:
            raise ValueError(f"{path} holds no RotNet: its metadata lacks {_KEY}")
        try:
            net = cls(**json.loads(metadata[_KEY]))
            net.load_state_dict(tensors)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        return net

    @classmethod
    def from_run(cls, folder: str | os.PathLike[str]) -> RotNet:
        """The network that a run of ``rotfast train rotnet`` trained on rotations, before it saw labels.

        Args:
            folder: the run folder of one seed; its file rotnet.safetensors is read.

        Raises:
            FileNotFoundError: the run has no such file: no run of this recipe, or its pretext is not done.
            ValueError: the file is damaged.
        """
        return cls.load(Path(folder) / _FILE)


def _check_positive(**numbers: int) -> None:
    for name, number in numbers.items():
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise ValueError(f"{name} must be a positive int, got {number!r}")


def _check_size(image_size: int, least: int) -> None:
    if not isinstance(image_size, int) or image_size < least:
        raise ValueError(f"image_size must be an int of at least {least}, got {image_size!r}")


def _safetensors(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError("files of networks need safetensors: pip install 'rotfast[recipes]'") from error


def _deck(channels: int, size: int, width: int) -> tuple[nn.Sequential, nn.Sequential, int]:
    layers: list[nn.Module] = []
    for out in (width, 2 * width):
        for _ in range(3):
            layers += [nn.Conv2d(channels, out, 3, padding=1), nn.ReLU()]
            channels = out
        layers.append(nn.MaxPool2d(2))
    hidden = nn.Sequential(nn.Flatten(), nn.Linear(channels * (size // 4) ** 2, 1024), nn.ReLU())
    return nn.Sequential(*layers), hidden, 1024


def _small(channels: int, size: int, width: int) -> tuple[nn.Sequential, nn.Sequential, int]:
    layers: list[nn.Module] = []
    for out in (width, 2 * width, 4 * width):
        for _ in range(2):
            layers += _normalised(channels, out, 3)
            channels = out
        layers.append(nn.MaxPool2d(2))
    # From few labels, features at their places do better than their mean over positions.
    hidden = nn.Sequential(nn.Flatten(), nn.Dropout(0.5))
    return nn.Sequential(*layers), hidden, channels * (size // 8) ** 2


def _nin(channels: int, size: int, width: int) -> tuple[nn.Sequential, nn.Sequential, int]:
    # The paper's first block narrows: 192, 160, 96.
    narrow = max(1, width // 2)
    first = [*_normalised(channels, width, 5), *_normalised(width, max(1, width * 5 // 6), 1)]
    first += _normalised(max(1, width * 5 // 6), narrow, 1)
    second = [*_normalised(narrow, width, 5), *_normalised(width, width, 1), *_normalised(width, width, 1)]
    third = [*_normalised(width, width, 3), *_normalised(width, width, 1), *_normalised(width, width, 1)]
    pools = (nn.MaxPool2d(3, 2, padding=1), nn.AvgPool2d(3, 2, padding=1))
    return nn.Sequential(*first, pools[0], *second, pools[1], *third), _mean(), width


def _normalised(channels: int, out: int, kernel: int) -> list[nn.Module]:
    # The batch norm has the bias.
    conv = nn.Conv2d(channels, out, kernel, padding=kernel // 2, bias=False)
    return [conv, nn.BatchNorm2d(out), nn.ReLU()]


def _mean() -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


_BUILDERS = {"deck": _deck, "small": _small, "nin": _nin}
