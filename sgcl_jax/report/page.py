# SPDX-License-Identifier: Apache-2.0
"""Writes a report: one HTML page, and the same as Markdown, PNG and CSV."""

import contextlib
import csv
import io
import os
import pathlib
import shutil
from collections.abc import Iterator, Sequence

import jinja2

import sgcl_jax
from sgcl_jax import errors
from sgcl_jax.report import content, style
from sgcl_jax.runs import files

PAGE = "index.html"
GENERATOR = "sgcl_jax.report"
# Figures that keep their size and are scrolled where the page is narrower.
WIDE_PIXELS = 640


def check_out(out: pathlib.Path) -> None:
  """Raises ConfigError if `out` exists and is not an earlier report."""
  if not out.exists() or (out.is_dir() and not any(out.iterdir())):
    return
  page = out / PAGE
  if not page.is_file() or GENERATOR not in page.read_text("utf-8")[:2000]:
    raise errors.ConfigError(
      f"--out={out} exists and is not a report; remove it or name another"
      " directory"
    )


def write(
  out: pathlib.Path, title: str, parts: Sequence[content.Section]
) -> None:
  """Writes a report, whole or not at all; replaces an earlier one.

  Args:
    out: Its directory, see `check_out`.
    title: Title of the page.
    parts: Its sections.
  """
  with _replacing(out) as folder:
    (folder / "figures").mkdir()
    (folder / "tables").mkdir()
    for part in parts:
      for figure in part.figures:
        path = folder / "figures" / f"{figure.name}.png"
        path.write_bytes(style.to_png(figure.drawn))
      for table in part.tables:
        path = folder / "tables" / f"{table.name}.csv"
        path.write_text(to_csv(table), "utf-8")
    (folder / "report.md").write_text(to_markdown(title, parts), "utf-8")
    (folder / PAGE).write_text(to_html(title, parts), "utf-8")


def to_html(title: str, parts: Sequence[content.Section]) -> str:
  """Returns the page, which needs no other file."""
  environment = jinja2.Environment(
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    loader=jinja2.PackageLoader("sgcl_jax.report", "."),
  )
  figures = [figure for part in parts for figure in part.figures]
  tables = [table for part in parts for table in part.tables]
  return environment.get_template("page.html").render(
    generator=f"{GENERATOR} {sgcl_jax.__version__}",
    title=title,
    sections=parts,
    svgs={f.name: style.to_svg(f.drawn, f.name) for f in figures},
    wide_px=WIDE_PIXELS,
    words={table.name: _find_words(table) for table in tables},
  )


def _find_words(table):
  """Returns the columns that hold no numbers."""
  columns = range(len(table.header))
  return {
    i
    for i in columns
    if any(row[i] and row[i][:1] not in "+-.0123456789" for row in table.rows)
  }


def to_markdown(title: str, parts: Sequence[content.Section]) -> str:
  """Returns the report as Markdown that shows the PNG files."""
  lines = [f"# {title}", ""]
  for part in parts:
    lines += [f"## {part.title}", ""]
    if part.text:
      lines += [part.text, ""]
    if part.points:
      lines += [*(f"* {point}" for point in part.points), ""]
    for figure in part.figures:
      lines += [f"![{figure.caption}](figures/{figure.name}.png)", ""]
    for table in part.tables:
      if len(part.tables) > 1:
        lines += [f"**{table.title}**", ""]
      rows = [table.header, ["---"] * len(table.header), *table.rows]
      escaped = ([_escape(cell) for cell in row] for row in rows)
      lines += [f"| {' | '.join(row)} |" for row in escaped] + [""]
  return "\n".join(lines)


def _escape(cell):
  """Returns a text as a cell of a table of Markdown."""
  return cell.replace("|", "\\|").replace("<", "&lt;")


def to_csv(table: content.Table) -> str:
  """Returns a table as CSV."""
  text = io.StringIO()
  rows = csv.writer(text, lineterminator="\n")
  rows.writerow(table.header)
  rows.writerows(table.rows)
  return text.getvalue()


@contextlib.contextmanager
def _replacing(out: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields an empty directory that takes the place of `out` on success."""
  out = pathlib.Path(os.path.realpath(out))
  partial = out.with_name(f".{out.name}.open-{os.getpid()}")
  try:
    with files.writing(out, *out.parents):
      out.parent.mkdir(parents=True, exist_ok=True)
      partial.mkdir()
    with files.writing(out, partial):
      yield partial
      files.move_into_place(partial, out)
  finally:
    shutil.rmtree(partial, ignore_errors=True)
