"""Sphinx, with the theme of Airflow's provider docs. Nothing is fetched: neither by a build nor by a built page."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

# Autodoc imports the package, and so Airflow, which must not touch an installation of the developer's.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="hubprefs-docs-")
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

_FOREIGN = re.compile(
    r'<!-- Matomo -->.*?<!-- End Matomo Code -->|<link rel="canonical" href="https://airflow\.apache\.org/[^>]*>'
    r'|@import "/external/[^"]*";|content:url\(/images/[^)]*\);|url\(/images/[^)]*\)',
    re.DOTALL,
)
"""What the theme puts into pages and styles, in no block: Apache's web analytics, files of Airflow's own site."""


def without_foreign_parts(app: Sphinx, exception: Exception | None) -> None:
    """Take out of what was built what belongs to Airflow's own site."""
    if exception is not None or app.builder.format != "html":
        return
    root = Path(app.outdir)
    for file in (*root.rglob("*.html"), *root.glob("_static/_gen/css/*.css")):
        up = "../" * (len(file.relative_to(root).parts) - 1)
        text = _FOREIGN.sub("", file.read_text(encoding="utf-8"))
        file.write_text(text.replace('<a href="/">', f'<a href="{up}index.html">'), encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Connect it."""
    app.connect("build-finished", without_foreign_parts)
