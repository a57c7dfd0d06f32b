"""Sphinx configuration. From the root: ``sphinx-build -W --keep-going -b html docs docs/_build/html``."""

import atexit
import os
import shutil
import tempfile

import skpneumo

# Examples run during the build; their features must not stay in the user's cache.
os.environ["SKPNEUMO_CACHE"] = tempfile.mkdtemp(prefix="skpneumo-docs-")
atexit.register(shutil.rmtree, os.environ["SKPNEUMO_CACHE"], ignore_errors=True)

project = "skpneumo"
author = "the skpneumo developers"
copyright = author
release = version = skpneumo.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_gallery.gen_gallery",
    "numpydoc",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "sg_execution_times.rst"]
default_role = "literal"
highlight_language = "python"
smartquotes = False  # would change the quotes of values such as "auto"
toc_object_entries_show_parents = "hide"
nitpicky = True  # an unresolved reference fails the build
nitpick_ignore_regex = [
    ("py:.*", r"sklearn\..*"),
    ("py:obj", r"[a-z_]+_"),  # numpydoc links properties among attributes, which have no page
]

autosummary_generate = True
autodoc_typehints = "none"  # docstrings state the types
numpydoc_show_class_members = False  # the class template lists them

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_[^/]*\.py$",
    "ignore_pattern": r"(^|/)(?!plot_)[^/]*\.py$",
    "within_subsection_order": "ExampleTitleSortKey",
    "backreferences_dir": "api/generated/backreferences",
    "doc_module": ("skpneumo",),
    "reference_url": {"skpneumo": None},
    "download_all_examples": False,
    "show_signature": False,
    "remove_config_comments": True,
    "write_computation_times": False,
}

html_theme = "pydata_sphinx_theme"
html_title = f"{project} {release}"
html_static_path = ["_static"]
html_css_files = ["skpneumo.css"]
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "skpneumo"},
    "header_links_before_dropdown": 7,
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
    "show_toc_level": 2,
    "navigation_with_keys": False,
}
# Pages without subpages need no navigation in the sidebar.
html_sidebars = {page: [] for page in ("index", "installation", "quick_start", "changelog")}
