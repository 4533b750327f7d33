"""Sphinx, with the theme of Airflow's provider docs. Nothing is fetched: neither by a build nor by a built page."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

# Autodoc imports the package, and so Airflow, which must not touch an installation of the developer's.
os.environ["AIRFLOW_HOME"] = str(HERE / "_build" / "airflow")
os.environ["_AIRFLOW__AS_LIBRARY"] = "1"
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"

from airflow_provider_hubprefs import __version__  # noqa: E402

project = "airflow-provider-hubprefs"
author = "The airflow-provider-hubprefs authors"
copyright = "the airflow-provider-hubprefs authors. Apache License 2.0"  # noqa: A001 - Sphinx's name
version = release = __version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.viewcode", "sphinxarg.ext", "hubprefs_docs"]
exclude_patterns = ["_build", "_ext"]
nitpick_ignore_regex = [
    # Names that are not documented here: Python's, Airflow's, and this package's own below the surface.
    (r"py:.*", r"_?[A-Za-z]+"),
    (r"py:.*", r"(airflow|collections|datetime|typing|zoneinfo|httpx|requests|msgspec)\..*"),
    (r"py:.*", r"(airflow_provider_hubprefs\.)?(bulk|hubspot|triggers|simulator)\..*"),
    (r"py:.*", r"(history|portal|server|sender)\..*|odd_answers|settings_from"),
]

autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
python_use_unqualified_type_names = True

html_theme = "sphinx_airflow_theme"
html_title = "airflow-provider-hubprefs"
html_short_title = ""
html_show_sourcelink = False
html_copy_source = False
html_show_search_summary = False  # it would fetch the pages that it found
html_static_path = ["_static"]
templates_path = ["_templates"]
html_css_files = ["docs.css"]
html_sidebars = {"**": ["searchbox.html", "globaltoc.html"]}
html_theme_options = {"hide_website_buttons": True, "sidebar_includehidden": True, "navbar_links": []}
html_context = {
    "display_github": True,
    "github_user": "airflow-provider-hubprefs",
    "github_repo": "airflow-provider-hubprefs",
    "github_version": "main",
    "conf_py_path": "/docs/",
    "suffix": ".rst",
}
