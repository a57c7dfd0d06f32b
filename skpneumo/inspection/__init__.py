"""What a model sees, and what it makes of it."""

from skpneumo.inspection._error_gallery_display import ErrorGalleryDisplay
from skpneumo.inspection._image_views import image_views
from skpneumo.inspection._threshold_display import ThresholdDisplay
from skpneumo.inspection._training_curve_display import TrainingCurveDisplay

__all__ = ["ErrorGalleryDisplay", "ThresholdDisplay", "TrainingCurveDisplay", "image_views"]
