"""Meta-learning of any nn.Module: an inner loop adapts to each task, an outer loop learns what they share."""

from rotfast.meta.learner import MetaLearner
from rotfast.meta.rates import InnerRates

__all__ = ["InnerRates", "MetaLearner"]
