"""Directives of these docs: a document in Markdown, and tables of what the code itself defines."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from airflow_provider_hubprefs.bulk.page.reasons import _BY_CATEGORY, _BY_ERROR
from airflow_provider_hubprefs.cli import main
from airflow_provider_hubprefs.cli.definition import COMMANDS, CREDENTIALS, EXIT_CODES
from airflow_provider_hubprefs.get_provider_info import get_provider_info

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sphinx.application import Sphinx

_LINK = re.compile(r"\[([^\]]+)\]\((https?://[^)]+)\)")


def rst_of(markdown: str) -> Iterator[str]:
    """Turn the Markdown of this repository into reST: headings, lists, code, links; without the title."""
    fenced = False
    for line in markdown.splitlines()[1:]:
        if line.startswith("```"):
            fenced = not fenced
            yield from ("", f".. code-block:: {line[3:] or 'text'}", "") if fenced else ("",)
        elif fenced:
            yield f"   {line}"
        elif line.startswith("## "):
            yield from ("", line[3:], "-" * len(line), "")
        else:
            yield _LINK.sub(r"`\1 <\2>`__", line.replace("`", "``"))


class Markdown(SphinxDirective):
    """``.. markdown:: ../CHANGELOG.md``: a document of the repository, as a part of this one."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Read and convert it."""
        path = Path(self.env.srcdir, self.arguments[0]).resolve()
        self.env.note_dependency(str(path))
        lines = StringList(list(rst_of(path.read_text(encoding="utf-8"))), source=str(path))
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def options() -> Iterator[str]:
    """Options of Airflow's configuration."""
    for section, described in get_provider_info()["config"].items():
        for name, option in described["options"].items():
            yield from (
                f"``[{section}] {name}``",
                f"   {option['description']}",
                "",
                f"   Default: {'``' + option['default'] + '``' if option['default'] else 'empty'}; "
                f"example: ``{option['example']}``; "
                f"environment: ``AIRFLOW__{section.upper()}__{name.upper()}``",
                "",
            )


def reasons() -> Iterator[str]:
    """Categories of dead letters."""
    yield from _advice(_BY_CATEGORY)


def ends() -> Iterator[str]:
    """Why runs end early."""
    yield from _advice(_BY_ERROR)


def commands() -> Iterator[str]:
    """What holds for all commands."""
    for text in (CREDENTIALS, EXIT_CODES):
        yield from (re.sub(r"(?<![\w`-])(--[a-z-]+|[A-Z]+_[A-Z_]+(?:\.\.\.)?)", r"``\1``", text), "")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line; what holds for all commands is not said of each."""
    made = main._parser()
    made.epilog = None
    (subcommands,) = (one for one in made._actions if isinstance(one, argparse._SubParsersAction))
    for command in COMMANDS:
        subcommands.choices[command.name].epilog = command.more
    return made


def _advice(by_name: dict[str, Any]) -> Iterator[str]:
    for name, advice in by_name.items():
        shown = f"{name}..." if name.endswith("_") else name
        yield from (f"``{shown}``", f"   {advice.means} {advice.do}", "")


class FromTheCode(SphinxDirective):
    """``.. from-the-code:: options``: what the code itself defines, so that it is written once."""

    required_arguments = 1
    KINDS: ClassVar[dict[str, Callable[[], Iterator[str]]]] = {
        "commands": commands,
        "options": options,
        "reasons": reasons,
        "ends": ends,
    }

    def run(self) -> list[nodes.Node]:
        """Make the list."""
        return self.parse_text_to_nodes("\n".join(self.KINDS[self.arguments[0]]()))


FOREIGN = re.compile(
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
        text = FOREIGN.sub("", file.read_text(encoding="utf-8"))
        file.write_text(text.replace('<a href="/">', f'<a href="{up}index.html">'), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("markdown", Markdown)
    app.add_directive("from-the-code", FromTheCode)
    app.connect("build-finished", without_foreign_parts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
