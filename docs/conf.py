"""The site: ``tools/docs`` builds it, without a network."""

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import edgel3_onnx.sklearn

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))  # the extensions below

project = "edgel3-onnx"
copyright = "the edgel3-onnx authors, MIT licence"
version = release = edgel3_onnx.__version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "command_line",
]
exclude_patterns = ["_build", "_templates", "examples", "gallery/sg_execution_times*", "sg_execution_times*"]

# Reference
autosummary_generate = True
templates_path = ["_templates"]
autodoc_typehints = "none"  # the docstrings say shapes too, and signatures with overloads are unreadable
numpydoc_show_class_members = False
add_module_names = False
toc_object_entries = False


def import_without(name, *names):
    """Import an adapter whose package is too large to install for its docstrings: its classes get empty bases."""
    for module, attribute in names:
        parts = module.split(".")
        for k in range(1, len(parts) + 1):
            sys.modules.setdefault(".".join(parts[:k]), ModuleType(".".join(parts[:k])))
            if k > 1:
                setattr(sys.modules[".".join(parts[: k - 1])], parts[k - 1], sys.modules[".".join(parts[:k])])
        setattr(sys.modules[module], attribute, type(attribute, (), {"__module__": module}))
    importlib.import_module(f"edgel3_onnx.{name}")
    for module in [each for each in sys.modules if each.split(".")[0] == names[0][0].split(".")[0]]:
        del sys.modules[module]


import_without("hear", ("torch.nn", "Module"), ("torch", "Tensor"))
import_without("mteb", ("mteb.models", "ModelMeta"), ("mteb.models.abs_encoder", "AbsEncoder"))
import_without(
    "hoplite",
    ("perch_hoplite.zoo.zoo_interface", "EmbeddingModel"),
    ("perch_hoplite.zoo.zoo_interface", "InferenceOutputs"),
)

# Gallery
sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "ignore_pattern": r"sounds\.py",
    "capture_repr": (),
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_signature": False,
    "show_memory": False,
    "min_reported_time": 1e9,
    "image_srcset": ["2x"],
    "copyfile_regex": r"sounds\.py",
    "within_subsection_order": "gallery_order.Order",
    "write_computation_times": False,
}
suppress_warnings = ["config.cache"]  # the gallery's settings are no text

# Pages
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
html_theme = "pydata_sphinx_theme"
html_title = "edgel3-onnx"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {"index": [], "changelog": [], "start": [], "which-model": []}
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "navbar_persistent": ["search-button"],
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "header_links_before_dropdown": 9,
}
highlight_language = "none"

# Texts that stand elsewhere in the repository, by the page that shows them.
ELSEWHERE = {
    "changelog": "CHANGELOG.md",
    "contributing": "CONTRIBUTING.md",
    "models/micro": "onnx_models/micro.md",
}


def read_source(app, docname, source):
    """Show a text that stands elsewhere, and let links lead to pages of the site, or nowhere."""
    place = ELSEWHERE.get(docname)
    if place is not None:
        source[0] = (ROOT / place).read_text("utf-8")
    if place is not None or not docname.startswith(("gallery/", "reference/api/")):
        folder = (ROOT / place if place else HERE / docname).parent
        source[0] = re.sub(
            r"(?<!!)\[([^\]]+)\]\(([^)#\s]+)(#[^)]*)?\)",
            lambda match: _link(*match.groups(""), folder=folder, docname=docname),
            source[0],
        )


def _link(text, target, anchor, *, folder, docname):
    if ":" in target:
        return f"[{text}]({target}{anchor})"
    path = (folder / target).resolve()
    pages = {(ROOT / place).resolve(): HERE / f"{page}.md" for page, place in ELSEWHERE.items()}
    pages[ROOT / "README.md"] = HERE / "index.md"
    path = pages.get(path, path)
    if HERE not in path.parents or not path.exists():
        return text
    if path == HERE / "index.md":
        anchor = ""
    up = len(Path(docname).parent.parts)
    return f"[{text}]({'../' * up}{path.relative_to(HERE)}{anchor})"


def setup(app):
    app.connect("source-read", read_source)
