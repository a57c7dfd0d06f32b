"""The text of the project uses the standard terms of scikit-learn and of diagnostic tests."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Each pattern, and the term to use instead.
PATTERNS = {
    r"\bfilms?\b": "image, X-ray or radiograph",
    r"\bthe ill\b|\bcalled ill\b|\bn_ill\b": "patients with pneumonia, positive cases",
    r"\b(?:is|are|was|were) called (?:ill|pneumonia|positive|normal)\b|\bspeaks? for\b": "is predicted",
    r"\bslopes\b": "gradients",
    r"\b(?:shelf|shelves)\b": "feature store",
    r"\b(?:ceases?|ceased) to rise\b": "stops improving",
    r"\bmend(?:s|ed|ing)?\b": "fix",
    r"\bflatter(?:s|ed|ing)?\b": "is optimistically biased",
    r"\b(?:house|rooms?)\b": "package, module",
    r"\bcarried over\b": "adapted",
    r"(?:^|\. |\"\"\")What (?!['\w ,-]*\?)": "a noun as the subject",
}
# Places where such a word is right: a part of the line.
RIGHT = ("calibration slopes",)


def texts():
    yield from (ROOT / "skpneumo").rglob("*.py")
    yield from (ROOT / "skpneumo" / "reporting" / "templates").iterdir()
    yield from (path for path in (ROOT / "docs").glob("*.rst"))
    yield from (path for path in (ROOT / "docs" / "user_guide").iterdir())
    yield from (path for path in (ROOT / "examples").rglob("*") if path.suffix in {".py", ".md", ".rst"})
    yield from (path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__))
    yield ROOT / "README.md"


@pytest.mark.parametrize("pattern", PATTERNS)
def test_no_text_uses_the_word(pattern):
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(pattern, line, re.IGNORECASE) and not any(part in line for part in RIGHT)
    ]
    assert not found, f"say: {PATTERNS[pattern]}\n" + "\n".join(found)
