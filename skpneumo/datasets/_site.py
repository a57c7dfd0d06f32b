"""Differences between sites: how radiographs are exposed, framed, sharpened and marked."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from numbers import Real
from typing import Any

from skpneumo._utils.messages import list_values
from skpneumo._utils.validation import Constraints, Finite, check_constraints, choices
from skpneumo.datasets._radiograph import GLYPH_WIDTH, Acquisition

_CONSTRAINTS: Constraints = {
    "exposure": [Finite(Real, -0.2, 0.2, closed="both")],
    "haze": [Finite(Real, 0, 0.8, closed="both")],
    "zoom": [Finite(Real, -0.3, 0.25, closed="both")],
    "blur": [Finite(Real, 0, 10, closed="both")],
    "letter": [choices("R", "L"), None],
}


@dataclass(frozen=True)
class Site:
    """The settings of a site; the defaults change nothing."""

    exposure: float = 0.0
    haze: float = 0.0
    zoom: float = 0.0
    blur: float = 0.0
    letter: str | None = "R"

    def __post_init__(self) -> None:
        constraints = {f"site[{name!r}]": allowed for name, allowed in _CONSTRAINTS.items()}
        settings = {f"site[{name!r}]": value for name, value in asdict(self).items()}
        check_constraints(constraints, settings, "make_chest_xrays")

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any] | None) -> "Site":
        """Check the names and values of settings."""
        settings = settings or {}
        names = [field.name for field in fields(cls)]
        unknown = sorted(set(settings) - set(names), key=str)
        if unknown:
            raise ValueError(
                f"site has the unknown keys {list_values(unknown)}; its keys are {', '.join(map(repr, names))}."
            )
        return cls(**settings)

    def apply(self, acquisition: Acquisition) -> Acquisition:
        """Change the settings of a radiograph to those of this site."""
        letter = acquisition.letter if self.letter else None
        if letter and self.letter == "L":
            dot, top, left = letter
            letter = dot, top, acquisition.width - left - GLYPH_WIDTH * dot
        return replace(
            acquisition,
            exposure=self.exposure,
            blur=math.hypot(acquisition.blur, self.blur * acquisition.height / 256),
            zoom=self.zoom,
            haze=self.haze,
            letter=letter,
            glyph=self.letter or "R",
        )
