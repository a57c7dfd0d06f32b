"""What a model sees, and what it makes of it."""

from skpneumo.inspection._image_views import image_views
from skpneumo.inspection._report import report

__all__ = ["image_views", "report"]
