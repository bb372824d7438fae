"""Pictures of explanations that shap has none for."""

from keras_ext.explain.plots._image_grid import image_grid
from keras_ext.explain.plots._sequence import sequence
from keras_ext.explain.plots._text_html import text_html

__all__ = ["image_grid", "sequence", "text_html"]
