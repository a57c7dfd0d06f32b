"""What a model sees, and what it makes of it."""

from skpneumo.inspection._image_views import image_views

__all__ = ["image_views"]
