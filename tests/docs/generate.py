"""Writes what the pages show of the code: the schema of the document, tables of settings, actions.

``make docs`` runs it; a test fails when what is written is not what the code says. The schema is
made from msgspec's own view of the document's types, so that it can't differ from what is decoded.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from msgspec import NODEFAULT, Raw, inspect, to_builtins

from sagas.actions import ACTION_STATUSES, ACTIONS
from sagas.instance import SCHEMA_VERSION, Instance
from server.commands.act import HELP
from server.settings import explain_settings
from tests.docs.api_page import API, api_page
from tests.docs.metrics_page import METRICS, metrics_page
from tests.docs.permissions_page import SECURITY, permissions_page
from tests.docs.queries_page import QUERIES, queries_page
from tests.docs.tables_page import TABLES, tables_page

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "docs" / "schema" / "instance.json"
OPERATING = ROOT / "docs" / "operating.md"
SETTINGS = re.compile(r"(<!-- settings -->\n).*?(<!-- end -->)", re.DOTALL)
ACTION_ROWS = re.compile(
    r"(\| action \| possible while \| what it does \|\n\|---\|---\|---\|\n)(?:\|.*\n)*"
)

Schema = dict[str, Any]  # a JSON schema


class _Writer:
    """Collects the schemas of the Structs met on the way as definitions."""

    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = {}

    def schema(self, type: inspect.Type) -> Schema:
        """The schema of a type; raises TypeError for one that no document has."""
        match type:
            case inspect.AnyType() | inspect.RawType():
                return {}
            case inspect.NoneType():
                return {"type": "null"}
            case inspect.BoolType():
                return {"type": "boolean"}
            case inspect.IntType():
                return {"type": "integer"}
            case inspect.FloatType():
                return {"type": "number"}
            case inspect.StrType():
                return {"type": "string"}
            case inspect.DateTimeType():
                return {"type": "string", "format": "date-time"}
            case inspect.LiteralType():
                return {"enum": sorted(type.values, key=str)}
            case inspect.DictType():
                return {"type": "object", "additionalProperties": self.schema(type.value_type)}
            case inspect.VarTupleType() | inspect.ListType():
                return {"type": "array", "items": self.schema(type.item_type)}
            case inspect.UnionType():
                return {"anyOf": [self.schema(one) for one in type.types]}
            case inspect.StructType():
                return self._reference(type)
            case _:
                raise TypeError(f"no schema for {type}")

    def _reference(self, type: inspect.StructType) -> Schema:
        name = type.cls.__name__
        if name not in self.definitions:
            self.definitions[name] = {}  # a Struct may contain itself
            self.definitions[name] = self.struct(type)
        return {"$ref": f"#/$defs/{name}"}

    def struct(self, type: inspect.StructType) -> Schema:
        """An object with the fields of a Struct; more fields may come in later versions."""
        fields: dict[str, Schema] = {}
        required: list[str] = []
        if type.tag_field is not None:
            fields[type.tag_field] = {"const": type.tag}
            required.append(type.tag_field)
        for field in type.fields:
            fields[field.encode_name] = {**self.schema(field.type), **_default(field)}
            if field.required:
                required.append(field.encode_name)
        about = " ".join((type.cls.__doc__ or "").split())
        return {
            "description": about,
            "type": "object",
            "properties": fields,
            "required": required,
        }


def _default(field: inspect.Field) -> Schema:
    """What an absent field means, where that is a plain value."""
    if field.default is NODEFAULT:
        made = field.default_factory
        return {} if made is NODEFAULT else {"default": made()}
    value = field.default
    plain = json.loads(bytes(value)) if isinstance(value, Raw) else to_builtins(value)
    return {"default": plain}


def instance_schema() -> str:
    """The JSON schema of the value of an instance's key, as text."""
    writer = _Writer()
    found = inspect.type_info(Instance)
    assert isinstance(found, inspect.StructType)
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"The value of an instance's key in the bucket, v {SCHEMA_VERSION}",
        **writer.struct(found),
        "$defs": dict(sorted(writer.definitions.items())),
    }
    return json.dumps(document, indent=1) + "\n"


def settings_table() -> str:
    """The table of all settings, as Markdown."""
    rows = ["| setting | variable | flag | default | what |", "|---|---|---|---|---|"]
    for row in explain_settings({}, {}):
        default = f"`{str(row.value).lower()}`" if isinstance(row.value, bool) else f"`{row.shown}`"
        shown = "" if row.value in (None, ()) else default
        rows.append(f"| `{row.name}` | `{row.env}` | `{row.flag}` | {shown} | {row.help} |")
    return "\n".join(rows) + "\n"


def action_rows() -> str:
    """The rows of the table of operator actions, as Markdown."""
    rows = [
        f"| `{action}` | {', '.join(sorted(ACTION_STATUSES[action]))} | {HELP[action]} |"
        for action in ACTIONS
    ]
    return "\n".join(rows) + "\n"


def operating_page() -> str:
    """The page on operating with its tables as they should be."""
    text = OPERATING.read_text(encoding="utf-8")
    text = SETTINGS.sub(lambda found: f"{found[1]}{settings_table()}{found[2]}", text)
    return ACTION_ROWS.sub(lambda found: f"{found[1]}{action_rows()}", text)


def main() -> None:
    """Write all of it."""
    SCHEMA.parent.mkdir(exist_ok=True)
    SCHEMA.write_text(instance_schema(), encoding="utf-8")
    OPERATING.write_text(operating_page(), encoding="utf-8")
    API.write_text(api_page(), encoding="utf-8")
    METRICS.write_text(metrics_page(), encoding="utf-8")
    QUERIES.write_text(queries_page(), encoding="utf-8")
    SECURITY.write_text(permissions_page(), encoding="utf-8")
    TABLES.write_text(tables_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
