"""Inspect images, models and predictions."""

from skpneumo.inspection._error_gallery_display import ErrorGalleryDisplay
from skpneumo.inspection._grad_cam import grad_cam
from skpneumo.inspection._grad_cam_display import GradCAMDisplay
from skpneumo.inspection._image_gallery_display import ImageGalleryDisplay
from skpneumo.inspection._image_views import image_views
from skpneumo.inspection._occlusion import occlusion_map
from skpneumo.inspection._threshold_display import ThresholdDisplay
from skpneumo.inspection._training_curve_display import TrainingCurveDisplay

__all__ = [
    "ErrorGalleryDisplay",
    "GradCAMDisplay",
    "ImageGalleryDisplay",
    "ThresholdDisplay",
    "TrainingCurveDisplay",
    "grad_cam",
    "image_views",
    "occlusion_map",
]
