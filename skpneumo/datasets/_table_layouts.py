"""Layouts of label tables: the columns of the image, the labels, the patient and the view."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from skpneumo._utils.messages import list_items

# Words in view columns, in capital letters.
VIEWS = {
    "frontal": ("FRONTAL", "PA", "AP", "AP AXIAL", "AP LLD", "AP RLD", "AP SUPINE", "PA LLD", "PA RLD"),
    "lateral": ("LATERAL", "L", "LL", "RL", "XTABLE LATERAL"),
    "oblique": ("OBLIQUE", "LAO", "LPO", "RAO", "RPO", "SWIMMERS"),
}
VIEW_OF = {word: view for view, words in VIEWS.items() for word in words}


@dataclass(frozen=True)
class Layout:
    r"""Columns of a label table.

    Parameters
    ----------
    name : str
        Name of the data set.
    header : tuple of str
        Columns that identify the layout.
    image : str
        Column of the names of the images.
    folder : str
        Folder that these names are relative to; ``{column}`` stands for a value of the row.
    label : str or None
        Column of labels. If None, there is one column of 1, 0, -1 or blank for each finding.
    label_pattern : str or None
        Regular expression that finds the label in `label`. If None, the whole text is the label.
    finding : str or None
        The finding, if `label` has 1, 0, -1 or blank for this single finding.
    multilabel : bool
        Whether an image may have several findings.
    patient, view, rater : str or None
        Columns of the patient, the view, and the person who labeled the row.
    patient_pattern : str or None
        Regular expression that finds the patient in `patient`.
    rows : {"image", "box", "finding"}
        What a row is. An image has one row, or one for each bounding box, or one for each finding of each rater.
    """

    name: str
    header: tuple[str, ...]
    image: str
    folder: str = ""
    label: str | None = None
    label_pattern: str | None = None
    finding: str | None = None
    multilabel: bool = False
    patient: str | None = None
    patient_pattern: str | None = None
    view: str | None = None
    rater: str | None = None
    rows: str = "image"


LAYOUTS = (
    Layout(
        "NIH ChestX-ray14",
        ("Image Index", "Finding Labels"),
        image="Image Index",
        label="Finding Labels",
        multilabel=True,
        patient="Patient ID",
        view="View Position",
    ),
    Layout(
        "CheXpert",
        ("Path", "Frontal/Lateral"),
        image="Path",
        patient="Path",
        patient_pattern=r"patient\d+",
        view="Frontal/Lateral",
    ),
    Layout(
        "MIMIC-CXR-JPG",
        ("subject_id", "study_id", "dicom_id"),
        image="dicom_id",
        folder="files/p{subject_id:.2}/p{subject_id}/s{study_id}",
        patient="subject_id",
        view="ViewPosition",
    ),
    Layout(
        "RSNA Pneumonia Detection Challenge",
        ("patientId", "Target"),
        image="patientId",
        label="Target",
        finding="Pneumonia",
        patient="patientId",
        rows="box",
    ),
    Layout(
        "RSNA Pneumonia Detection Challenge, detailed classes",
        ("patientId", "class"),
        image="patientId",
        label="class",
        patient="patientId",
        rows="box",
    ),
    Layout(
        "VinDr-CXR",
        ("image_id", "class_name"),
        image="image_id",
        label="class_name",
        multilabel=True,
        rater="rad_id",
        rows="finding",
    ),
    Layout(
        "VinDr-CXR, labels of images",
        ("image_id", "No finding"),
        image="image_id",
        rater="rad_id",
        rows="finding",
    ),
    Layout(
        "COVID-19 Radiography Database",
        ("FILE NAME", "FORMAT"),
        image="FILE NAME",
        folder="images",  # beside "masks" with the same names
        label="FILE NAME",
        label_pattern=r".+(?=-\d+$)",
    ),
)


def find_layout(
    columns: Collection[str],
    *,
    image: str | None = None,
    label: str | None = None,
    patient: str | None = None,
    view: str | None = None,
) -> Layout:
    """Return the layout of a table with these columns, changed by the given names of columns."""
    if image is not None:
        return Layout("", (), image=image, label=label, patient=patient, view=view)
    layout = next((each for each in LAYOUTS if set(each.header) <= set(columns)), None)
    if layout is None:
        known = "\n".join(f"  {each.name}: {', '.join(each.header)}" for each in LAYOUTS)
        raise ValueError(
            f"The columns of the table are not those of a known data set: {list_items(list(columns))}. Pass "
            f"image_column, and label_column or positive. Columns of known data sets:\n{known}"
        )
    if label is not None:
        layout = replace(layout, label=label, label_pattern=None, finding=None, multilabel=layout.rows == "finding")
    if patient is not None:
        layout = replace(layout, patient=patient, patient_pattern=None)
    return layout if view is None else replace(layout, view=view)
