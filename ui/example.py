"""An example value for a JSON Schema: what a form starts with when no such message was ever seen.

Pure. Follows what msgspec writes: references, required and optional members, alternatives, enums.
"""

from __future__ import annotations

from typing import Any

import msgspec

DEPTH_MAX = 8
_PLAIN: dict[str, object] = {"integer": 0, "number": 0.0, "boolean": False, "null": None}
_FORMATS = {
    "date-time": "2026-01-31T12:00:00Z",
    "date": "2026-01-31",
    "time": "12:00:00Z",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "duration": "PT15M",
}


def example_of(schema: bytes) -> bytes:
    """JSON that fits ``schema`` (a JSON Schema), with all its members; ``{}`` where it is none."""
    try:
        root = msgspec.json.decode(schema)
    except msgspec.DecodeError:
        return b"{}"
    return msgspec.json.encode(_value(root, root, DEPTH_MAX) if isinstance(root, dict) else {})


def _value(schema: dict[str, Any], root: dict[str, Any], depth: int) -> object:
    """A value of one schema; recursion ends at ``depth``, since types may hold themselves."""
    if depth == 0:
        return None
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return _value(root.get("$defs", {}).get(name, {}), root, depth - 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    if schema.get("examples"):
        return schema["examples"][0]
    if "anyOf" in schema:
        options = [one for one in schema["anyOf"] if one.get("type") != "null"]
        return _value(options[0], root, depth) if options else None
    return _typed(schema, root, depth)


def _typed(schema: dict[str, Any], root: dict[str, Any], depth: int) -> object:
    match schema.get("type"):
        case "object":
            members: dict[str, dict[str, Any]] = schema.get("properties", {})
            return {name: _value(one, root, depth - 1) for name, one in members.items()}
        case "array":
            items = schema.get("items")
            one = _value(items, root, depth - 1) if isinstance(items, dict) and items else None
            return [] if one is None else [one]
        case "string":
            return schema.get("default") or _FORMATS.get(schema.get("format", ""), "")
        case other:
            return schema.get("default", _PLAIN.get(str(other)))
