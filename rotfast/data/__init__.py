"""Readers, rotated image sets, episodes and synthetic problems."""

from rotfast.data.cifar10 import load_cifar10
from rotfast.data.digits import load_digits
from rotfast.data.episodes import AngleEpisodes, Episode
from rotfast.data.few_labels import FewLabels, draw_few_labels
from rotfast.data.idx import read_idx
from rotfast.data.mnist import load_mnist
from rotfast.data.omniglot import OneShotRun, load_omniglot, load_omniglot_runs
from rotfast.data.projections import binarise, projection_features
from rotfast.data.rotated import RotatedDataset, load_rmnist_task_data
from rotfast.data.steering import GroupAction, steered_bank
from rotfast.data.synthetic import PROBLEMS, SyntheticProblem, synthetic_problem

__all__ = [
    "PROBLEMS",
    "AngleEpisodes",
    "Episode",
    "FewLabels",
    "GroupAction",
    "OneShotRun",
    "RotatedDataset",
    "SyntheticProblem",
    "binarise",
    "draw_few_labels",
    "load_cifar10",
    "load_digits",
    "load_mnist",
    "load_omniglot",
    "load_omniglot_runs",
    "load_rmnist_task_data",
    "projection_features",
    "read_idx",
    "steered_bank",
    "synthetic_problem",
]
