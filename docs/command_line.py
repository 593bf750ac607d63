"""The directive ``command-line``: the options of the command, from its parser."""

import re

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from edgel3_onnx.command.arguments import _parser


class CommandLine(SphinxDirective):
    """A table of options for each group of the parser."""

    def run(self):
        parser = _parser()
        parts = []
        for group in parser._action_groups:
            actions = [action for action in group._group_actions if action.help]
            if not actions:
                continue
            section = nodes.section(ids=[nodes.make_id(f"options-{group.title}")])
            section += nodes.title(text=group.title.capitalize())
            definitions = nodes.definition_list(classes=["options"])
            for action in actions:
                definitions += self._item(parser, action)
            section += definitions
            parts.append(section)
        return parts

    def _item(self, parser, action):
        names = [name for name in action.option_strings if name.startswith("--")] or [action.metavar or action.dest]
        short = [name for name in action.option_strings if not name.startswith("--")]
        value = "" if action.nargs == 0 else action.metavar or "|".join(map(str, action.choices or ()))
        if not action.option_strings:
            value = ""
        term = nodes.term()
        for k, name in enumerate([*names, *short]):
            term += nodes.Text(", " if k else "")
            term += nodes.literal(text=name)
        if value:
            term += nodes.literal(text=f" {value}")
        text = (action.help or "") % {**vars(action), "prog": parser.prog}
        text = re.sub(r"\s+", " ", text)
        return nodes.definition_list_item("", term, nodes.definition("", nodes.paragraph(text=text)))


def setup(app):
    app.add_directive("command-line", CommandLine)
    return {"parallel_read_safe": True}
