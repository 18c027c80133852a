"""Sphinx: Markdown by MyST, the furo theme, and formulas as MathML, which browsers draw without any script."""

from docutils import nodes
from latex2mathml.converter import convert

project = "minigan"
extensions = ["myst_parser"]
myst_heading_anchors = 3  # links to sections of another page
myst_enable_extensions = ["dollarmath"]
html_theme = "furo"
html_math_renderer = "mathml"
exclude_patterns = ["_build"]


def formula(translator, node, display):
    mathml = convert(node.astext(), display=display)
    # Browsers know no <menclose>: draw the frame of a boxed result with CSS.
    mathml = mathml.replace('<menclose notation="box">', '<mrow style="border: 1px solid; padding: 0.5em">')
    translator.body.append(mathml.replace("</menclose>", "</mrow>"))
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer(
        "mathml",
        (lambda translator, node: formula(translator, node, "inline"), None),
        (lambda translator, node: formula(translator, node, "block"), None),
    )
