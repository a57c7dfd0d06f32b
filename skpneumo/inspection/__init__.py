"""What a model sees, and what it makes of it."""

from skpneumo.inspection._grad_cam import grad_cam
from skpneumo.inspection._grad_cam_display import GradCAMDisplay
from skpneumo.inspection._image_views import image_views
from skpneumo.inspection._occlusion import occlusion_map
from skpneumo.inspection._report import report

__all__ = ["GradCAMDisplay", "grad_cam", "image_views", "occlusion_map", "report"]
