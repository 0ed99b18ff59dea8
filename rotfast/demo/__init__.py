"""A local page to explore a trained autoencoder: ``rotfast demo beta-vae RUN``.

Sliders for the numbers of the code with the decoded image beside them, and a canvas whose drawing is encoded.
`Explorer` is what the page needs of a model. The server needs ``pip install 'rotfast[demo]'``.
"""

from rotfast.demo.explorer import Dimension, Explorer

__all__ = ["Dimension", "Explorer"]
