"""YAML in which every key stands once: PyYAML takes the last of two without a word."""

from typing import Any

import yaml


class OnceLoader(yaml.SafeLoader):
    """Safe YAML, but for a key that stands twice in one section."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Return a section.

        Raises:
            yaml.constructor.ConstructorError: a key stands twice in it; what ``<<`` merges into it may be replaced.
        """
        lines: dict[str, int] = {}
        for key, _ in node.value:
            own = node.start_mark.index <= key.start_mark.index < node.end_mark.index
            if not own or not isinstance(key, yaml.ScalarNode) or key.tag.endswith(":merge"):
                continue
            line = key.start_mark.line + 1
            if key.value in lines:
                twice = f"the key {key.value!r} stands in line {lines[key.value]} and again in line {line}; keep one"
                raise yaml.constructor.ConstructorError(None, None, twice)
            lines[key.value] = line
        return super().construct_mapping(node, deep)


def load_once(text: str) -> Any:
    """Return what YAML says.

    Raises:
        yaml.YAMLError: it is no YAML, or a key stands twice.
    """
    return yaml.load(text, OnceLoader)  # a safe loader
