"""An extension of mkdocstrings that shows the ``description`` of a pydantic field as its docstring, and its default as its value."""  # noqa: INP001 - mkdocs loads it by its path

from __future__ import annotations

import ast
from typing import Any

import griffe


class FieldDescriptions(griffe.Extension):
    """The extension, which reads calls of ``Field(default=…, description=…)`` without importing anything."""

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_others: Any) -> None:
        """Set the docstring and the value of an attribute from its ``Field`` call."""
        call = attr.value
        if not isinstance(call, griffe.ExprCall) or call.canonical_path != "pydantic.Field":
            return
        given = {one.name: one.value for one in call.arguments if isinstance(one, griffe.ExprKeyword)}
        if "description" in given:
            attr.docstring = griffe.Docstring(ast.literal_eval(str(given["description"])), parent=attr)
        attr.value = given.get("default")
        kind = attr.annotation  # without the markers for pydantic
        if isinstance(kind, griffe.ExprSubscript) and kind.canonical_path == "typing.Annotated":
            attr.annotation = kind.slice.elements[0]
