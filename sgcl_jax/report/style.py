# SPDX-License-Identifier: Apache-2.0
"""How the figures of a report look, and how they become SVG and PNG."""

import io
import re

import matplotlib as mpl
from matplotlib import figure

# The text and the axes; a page replaces it by the colour of its own text.
INK = "#1d1d1f"
# Colours that are readable on white and on black.
MUTED = "#8a8a8f"
BLUE = "#2f7fd6"
RED = "#d9453d"
ORANGE = "#d98a1f"
GREEN = "#2f9e5b"
LINES = (BLUE, ORANGE, GREEN, RED, "#8e5bc4", "#a5714f")
# Colours of classes: ten that are told apart (Tableau 10).
CLASSES = mpl.color_sequences["tab10"]

STYLE = {
  "axes.edgecolor": MUTED,
  "axes.facecolor": "none",
  "axes.grid": True,
  "axes.labelcolor": INK,
  "axes.linewidth": 0.6,
  "axes.spines.right": False,
  "axes.spines.top": False,
  "axes.titlelocation": "left",
  "axes.titlesize": 10,
  "figure.facecolor": "none",
  "font.family": ["DejaVu Sans"],
  "font.size": 9,
  "grid.alpha": 0.35,
  "grid.color": MUTED,
  "grid.linewidth": 0.5,
  "legend.frameon": False,
  "legend.fontsize": 8.5,
  "lines.linewidth": 1.5,
  "svg.fonttype": "none",
  "text.color": INK,
  "xtick.color": INK,
  "ytick.color": INK,
  "xtick.major.width": 0.6,
  "ytick.major.width": 0.6,
}
PNG_DPI = 200


def new_figure(width: float, height: float) -> figure.Figure:
  """Returns an empty figure of so many inches, to be filled within `STYLE`."""
  return figure.Figure((width, height), layout="constrained")


def to_svg(drawn: figure.Figure, name: str) -> str:
  """Returns a figure as an `<svg>` element for a page of any background.

  Args:
    drawn: The figure.
    name: Its name, which makes the ids of its elements unique in the page.
  """
  buffer = io.StringIO()
  with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
    drawn.savefig(buffer, format="svg", metadata={"Date": None})
  text = buffer.getvalue()
  text = text[text.index("<svg") :]
  width, height = re.search(r'viewBox="0 0 ([0-9.]+) ([0-9.]+)"', text).groups()
  head = (
    f'<svg viewBox="0 0 {width} {height}" role="img"'
    ' xmlns="http://www.w3.org/2000/svg"'
    ' xmlns:xlink="http://www.w3.org/1999/xlink">'
  )
  text = head + text[text.index(">") + 1 :]
  text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
  text = re.sub(r'(?<= id=")', f"{name}-", text)
  text = re.sub(r'(url\(|href=")#', rf"\1#{name}-", text)
  return text.replace(INK, "currentColor")


def to_png(drawn: figure.Figure) -> bytes:
  """Returns a figure as a PNG on white."""
  buffer = io.BytesIO()
  with mpl.rc_context(STYLE):
    drawn.savefig(buffer, format="png", dpi=PNG_DPI, facecolor="white")
  return buffer.getvalue()
