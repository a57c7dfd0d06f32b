"""What a model sees, and what it makes of it."""

from skpneumo.inspection._grad_cam import grad_cam
from skpneumo.inspection._grad_cam_display import GradCAMDisplay
from skpneumo.inspection._image_views import image_views
from skpneumo.inspection._model_card import model_card
from skpneumo.inspection._occlusion import occlusion_map

__all__ = ["GradCAMDisplay", "grad_cam", "image_views", "model_card", "occlusion_map"]
