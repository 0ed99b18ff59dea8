"""Matplotlib figures of a training run and of the layers of a model.

Every function returns a `matplotlib.figure.Figure` and writes it when a path is given (whole or not at all;
the suffix chooses the format). No function touches pyplot's state or the backend.
"""

from rotfast.plots.activations import visualize_activations
from rotfast.plots.angles import plot_errors_per_angle, plot_images_per_angle
from rotfast.plots.budget import plot_budget
from rotfast.plots.comparison import plot_comparison
from rotfast.plots.confusion import plot_confusion
from rotfast.plots.distances import plot_pair_distances
from rotfast.plots.embedding import plot_embedding
from rotfast.plots.embedding_3d import plot_embedding_3d
from rotfast.plots.image_grid import plot_image_grid, save_animation
from rotfast.plots.losses import plot_losses
from rotfast.plots.neighbours import plot_neighbours
from rotfast.plots.warps import plot_group_action, visualize_warps
from rotfast.plots.weights import visualize_weights

__all__ = [
    "plot_budget",
    "plot_comparison",
    "plot_confusion",
    "plot_embedding",
    "plot_embedding_3d",
    "plot_errors_per_angle",
    "plot_group_action",
    "plot_image_grid",
    "plot_images_per_angle",
    "plot_losses",
    "plot_neighbours",
    "plot_pair_distances",
    "save_animation",
    "visualize_activations",
    "visualize_warps",
    "visualize_weights",
]
