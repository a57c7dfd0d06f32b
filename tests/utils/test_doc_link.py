"""HTML representation of an estimator: it links to the documentation, is small and contains no patient names."""

import re
from email.message import Message
from importlib.metadata import PackageNotFoundError
from inspect import getdoc

import numpy as np
import pytest
from imblearn.over_sampling import SMOTE
from sklearn.base import BaseEstimator

from conftest import TINY
from skpneumo import PneumoniaClassifier, VGG19Features
from skpneumo._utils import doc_link
from skpneumo.datasets import make_chest_xrays

ESTIMATORS = [PneumoniaClassifier, VGG19Features]
DOCUMENTATION = "https://docs.example.org/skpneumo"

describes_parameters = pytest.mark.skipif(
    not hasattr(BaseEstimator, "_get_fitted_attr_html"),
    reason="scikit-learn before 1.9 links none",
)


@pytest.fixture
def addresses(monkeypatch):
    """Set the addresses in the metadata of the package."""

    def give(*links):
        message = Message()
        for link in links:
            message["Project-URL"] = link
        monkeypatch.setattr(doc_link, "metadata", lambda name: message)

    return give


@pytest.fixture
def documented(addresses):
    addresses(f"Documentation, {DOCUMENTATION}/")


def hrefs(estimator):
    return re.findall(r'href="([^"]*)"', estimator._repr_html_())


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_link_leads_to_the_page_of_the_estimator(documented, estimator):
    page = f"{DOCUMENTATION}/api/generated/skpneumo.{estimator.__name__}.html"
    assert estimator()._get_doc_link() == page
    assert page in hrefs(estimator())


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("links", [(), ("Source, https://source.example.org",)])
def test_no_link_without_an_address(addresses, estimator, links):
    addresses(*links)
    assert hrefs(estimator()) == []


def test_address_of_the_documentation_is_selected(addresses):
    addresses("Source, https://source.example.org", f"documentation , {DOCUMENTATION}")
    assert doc_link.documentation_address() == DOCUMENTATION


def test_no_link_if_the_package_is_not_installed(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(doc_link, "metadata", missing)
    assert hrefs(PneumoniaClassifier()) == []


def test_subclass_of_another_package_has_no_link(documented):
    class Mine(PneumoniaClassifier):
        pass

    assert Mine()._get_doc_link() == ""


@describes_parameters
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_each_parameter_links_to_its_description(documented, estimator):
    linked = {link.partition("text=")[2].partition(",")[0] for link in hrefs(estimator())}
    assert linked >= set(estimator().get_params())


@describes_parameters
def test_each_fitted_attribute_links_to_its_description(documented, clf, paths, y):
    linked = {link.partition("text=")[2].partition(",")[0] for link in hrefs(clf.fit(paths, y))}
    assert linked >= {name for name in vars(clf) if name.endswith("_")}


@describes_parameters
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_text_fragments_of_links_contain_no_hyphen(documented, estimator):
    # A hyphen ends a text fragment, and the browser would stay at the top of the page.
    quotations = [link.partition(",-")[2] for link in hrefs(estimator()) if "#" in link]
    assert [each for each in quotations if not each or "-" in each] == []


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_each_parameter_and_attribute_has_a_separate_description(estimator):
    assert not re.findall(r"^\w+, \w+ : ", getdoc(estimator), re.MULTILINE)


def test_size_of_the_html_does_not_depend_on_the_number_of_images(clf, random):
    few, many = (random.normal(size=(n, 64)) for n in (50, 3000))
    sizes = [
        len(clf.fit(X, np.arange(len(X)) % 2, groups=[f"person{i}" for i in range(len(X))])._repr_html_())
        for X in (few, many)
    ]
    assert sizes[1] < sizes[0] + 500
    assert sizes[1] < 60_000


def test_html_contains_neither_file_names_nor_patients(tmp_path, clf):
    X, y = make_chest_xrays(8, tmp_path / "secret", image_size=48, random_state=0, return_X_y=True)
    html = clf.fit(X, y, groups=[f"Jane Doe {i // 2}" for i in range(8)])._repr_html_()
    assert "secret" not in html
    assert "Doe" not in html


def test_html_of_fitted_features_needs_no_weights(tmp_path, paths):
    extractor = VGG19Features(**{**TINY, "weights": str(tmp_path / "elsewhere.npz")}).fit(paths)
    assert extractor.get_feature_names_out()[-1] == "vgg19_1_1_63"
    assert "Fitted" in extractor._repr_html_()


def test_html_of_a_classifier_contains_its_sampler(clf, matrix, y):
    html = clf.set_params(sampler=SMOTE(random_state=0)).fit(matrix, y)._repr_html_()
    assert "PneumoniaClassifier" in html
    assert "sampler: SMOTE" in html
